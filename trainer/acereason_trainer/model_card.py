"""The README.md of a published model: what it is, where it came from and what was measured of it.

An artifact never changes, so what an evaluation measures later is not in its card. The same card
with all that a store knows by now:

    python -m acereason_trainer.model_card STORE NAME
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from acereason_trainer.artifacts.errors import NotFound
from acereason_trainer.artifacts.lineage import Ambiguous, Ancestor, draw, every, find, lineage
from acereason_trainer.artifacts.manifest import Manifest
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore
from acereason_trainer.telemetry.run_record import CHOICE_FILE

CARD = "README.md"
TAUGHT = {"sft": "supervised-fine-tuning", "mathRL": "grpo", "codeRL": "grpo"}
"""How a stage kind trains, as model cards are tagged."""
HUB = "hub "
"""Begins the origin of a model that was fetched: `hub owner/name@revision`."""
LICENSE = ("license", "license_name", "license_link")
"""Fields of a card that say under which terms a model stands."""


def model_card(store: DirectoryStore, manifest: Manifest, directory: Path) -> str:
    """The card of a model in Hugging Face form.

    directory: its files, records too. The manifest may be that of a model which is not in the
    store yet.
    """
    root = lineage(store, manifest)
    kind = manifest.producer.stage_kind if manifest.producer else None
    tags = ["acereason", *([TAUGHT[kind]] if kind in TAUGHT else [])]
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        f"tags: [{', '.join(tags)}]\n{_of_the_base(store, root)}---",
        f"# {_title(manifest)}",
        _what_it_is(manifest, directory),
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("THIS_DIRECTORY", dtype="auto")\n'
        'tokenizer = AutoTokenizer.from_pretrained("THIS_DIRECTORY")\n```',
        f"## Where it comes from\n\n```text\n{draw(root)}\n```",
        "## What was measured\n\n" + _measured(store, root, directory),
        "## What made it\n\n" + _table(("package", "version"), sorted(manifest.versions.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _of_the_base(store: DirectoryStore, root: Ancestor) -> str:
    """Lines of the head that tell of the imported model at the beginning, as far as is known: its
    place on the hub, and the license that its own card names."""
    base = root
    while model := next((p for p in base.parents if p.role == "model"), None):
        base = model
    if base.manifest is None or base.manifest.producer is not None:
        return ""
    known = {}
    if base.manifest.origin.startswith(HUB):
        known["base_model"] = base.manifest.origin.removeprefix(HUB).rpartition("@")[0]
    head = _head(store.directory(f"{ARTIFACTS}/{base.manifest.key}") / CARD)
    known |= {name: head[name] for name in LICENSE if isinstance(head.get(name), str)}
    return yaml.safe_dump(known, sort_keys=False) if known else ""


def _head(card: Path) -> dict[str, Any]:
    """What stands between the first two lines of dashes; nothing where there is no such thing."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.exists() else ""
    before, _, rest = text.partition("---\n")
    if before or "\n---" not in rest:
        return {}
    try:
        head = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return head if isinstance(head, dict) else {}


def _title(manifest: Manifest) -> str:
    made = manifest.producer
    return manifest.key if made is None else f"{made.run}/{made.stage}"


def _what_it_is(manifest: Manifest, directory: Path) -> str:
    made = manifest.producer
    how = (
        f"Imported from {manifest.origin}."
        if made is None
        else f"Made by stage `{made.stage}` ({made.stage_kind}) of run `{made.run}`, attempt "
        f"{made.attempt}, {manifest.step:,} steps on {manifest.world_size} "
        f"rank{'' if manifest.world_size == 1 else 's'}."
    )
    config = _json(directory / "config.json")
    said = [f"A {config.get('model_type', 'causal')} language model"]
    if "dtype" in config:
        said.append(f"weights in {config['dtype']}")
    if "max_position_embeddings" in config:
        said.append(f"{config['max_position_embeddings']:,} tokens of context")
    ends = _json(directory / "generation_config.json").get("eos_token_id")
    if ends is not None:
        tokens = ends if isinstance(ends, list) else [ends]
        said.append(f"answers end with token {' or '.join(map(str, tokens))}")
    return f"{how} {'; '.join(said)}."


def _measured(store: DirectoryStore, root: Ancestor, directory: Path) -> str:
    """What each model of the lineage was measured at: by its own stage, and by evaluations.

    directory: that of the root, which may not be in the store yet.
    """
    evaluations = [m for _, m in store.all() if m.kind == "evaluation"]
    rows: list[tuple[str, str, str]] = []
    for ancestor in every(root):
        model = ancestor.manifest
        if model is None or model.kind != "model":
            continue
        name = "this model" if ancestor is root else _title(model)
        if model.metrics:
            of_it = directory if ancestor is root else store.directory(f"{ARTIFACTS}/{model.key}")
            result = f"{_figures(model.metrics)}{_chosen_by(model.metrics, of_it)}"
            rows.append((name, "its own stage", result))
        rows += [
            (name, f"evaluation {_title(e)}", _figures(e.metrics))
            for e in evaluations
            if e.parents.get("model") == model.digest
        ]
    if not rows:
        return "Nothing yet."
    return _table(("model", "by", "result"), rows)


def _chosen_by(metrics: Mapping[str, float], directory: Path) -> str:
    """Words behind the figures of a stage that chose something by one of them."""
    chosen = _json(directory / CHOICE_FILE).get("chosen", [])
    if not chosen or "validation_accuracy" not in metrics:
        return ""
    what = " and ".join(chosen)
    return f"; the stage chose its {what} by validation_accuracy, so that figure is not held out"


def _figures(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines: Iterator[tuple[str, ...]] = iter([head, ("---",) * len(head), *rows])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def main() -> int:
    """Print the card of a model in a store."""
    parser = argparse.ArgumentParser(
        prog="python -m acereason_trainer.model_card",
        description="Print a published model's card with all that was measured by now.",
        epilog="example: python -m acereason_trainer.model_card store acereason-7b/math-32k",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="directory of the store")
    parser.add_argument(
        "name", metavar="NAME", help="key, start of a key or digest, or run/stage of a model"
    )
    told = parser.parse_args()
    store = DirectoryStore(told.store)
    try:
        manifest = find(store, told.name)
    except (NotFound, Ambiguous) as error:
        print(error, file=sys.stderr)
        return 2
    if manifest.kind != "model":
        print(f"{manifest.key} is no model ({manifest.kind}); name one", file=sys.stderr)
        return 2
    print(model_card(store, manifest, store.directory(f"{ARTIFACTS}/{manifest.key}")), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
