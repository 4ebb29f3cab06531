"""What is known of a run whose file may be broken in places.

A stage with a typo in one setting still tells its name, its kind and what it needs, so that the
rules between stages (`checks`) can be held against the rest in the same reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acereason_trainer.config.problems import Path
from acereason_trainer.config.sources import Source
from acereason_trainer.config.stage_file import OUTPUT_KIND
from pydantic import ValidationError


@dataclass(frozen=True)
class StageFacts:
    """What is known of a stage; None or absent where the file is broken there."""

    name: str | None = None
    kind: str | None = None
    settings: frozenset[str] = frozenset()
    """Members of the kind's settings that are written and not null."""
    holds_out: bool = False
    """Whether `validation.heldOutShare` is among them."""
    needs: Sequence[str] | None = None
    """As written; None where it is left to its default."""
    inputs: frozenset[str] = frozenset()
    """Members of `inputs` that are written and not null, broken ones too."""
    sources: Mapping[Path, Source] = field(default_factory=dict)
    """Each source by its path below the stage, as in ("inputs", "heldOut", 0)."""
    nodes: int | None = None


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run."""

    stages: Sequence[StageFacts]
    model_paths: Mapping[Path, str]
    """Paths that `spec.model` names, by their place below `spec`."""
    on_object_store: bool
    one_node_claim: bool
    """Whether the claim template is ReadWriteOnce."""
    nodes: int | None
    """`spec.defaults.nodes`."""


def facts_of(spec: Any) -> RunFacts:
    """The facts of a `spec` as plain data, of any shape."""
    stages = _list(spec, "stages")
    model = _map(spec, "model")
    named = {("model", "path"): model.get("path")} | {
        ("model", "fromConfig", key): value for key, value in _map(model, "fromConfig").items()
    }
    return RunFacts(
        stages=[_stage(stage) for stage in stages],
        model_paths={path: text for path, text in named.items() if isinstance(text, str)},
        on_object_store="objectStore" in _map(spec, "storage"),
        one_node_claim=_map(_map(spec, "storage"), "claimTemplate").get("accessMode")
        == "ReadWriteOnce",
        nodes=_count(_map(spec, "defaults").get("nodes")),
    )


def _stage(stage: Any) -> StageFacts:
    name = stage.get("name") if isinstance(stage, dict) else None
    kinds = [kind for kind in OUTPUT_KIND if isinstance(stage, dict) and kind in stage]
    kind = kinds[0] if len(kinds) == 1 else None
    needs = stage.get("needs") if isinstance(stage, dict) else None
    inputs = _map(stage, "inputs")
    written = {("inputs", key): inputs.get(key) for key in ("model", "data", "validation")} | {
        ("inputs", "heldOut", i): item for i, item in enumerate(_list(inputs, "heldOut"))
    }
    sources = {path: _source(item) for path, item in written.items()}
    return StageFacts(
        name=name if isinstance(name, str) else None,
        kind=kind,
        settings=_written(_map(stage, kind or "")),
        holds_out="heldOutShare" in _written(_map(_map(stage, kind or ""), "validation")),
        needs=[n for n in needs if isinstance(n, str)] if isinstance(needs, list) else None,
        inputs=_written(inputs),
        sources={path: source for path, source in sources.items() if source is not None},
        nodes=_count(stage.get("nodes")) if isinstance(stage, dict) else None,
    )


def _source(item: Any) -> Source | None:
    try:
        return Source.parse(item)
    except ValidationError:
        return None


def _written(data: dict[str, Any]) -> frozenset[str]:
    return frozenset(key for key, value in data.items() if value is not None and value != [])


def _map(data: Any, key: str) -> dict[str, Any]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _list(data: Any, key: str) -> list[Any]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
