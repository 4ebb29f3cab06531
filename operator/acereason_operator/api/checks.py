"""What must hold between the stages of a run: the rules that no single field can state.

The rules look at facts that may be incomplete, and stay silent where they cannot know.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from acereason_trainer.config.problems import Path
from acereason_trainer.config.stage_file import OUTPUT_KIND, ArtifactKind

from acereason_operator.api.facts import RunFacts, StageFacts

WANTED: dict[str, ArtifactKind] = {
    "model": "model",
    "data": "data",
    "heldOut": "data",
    "validation": "data",
}
"""What each input must be."""


class Finding(NamedTuple):
    """A rule that does not hold."""

    path: Path
    """Below `spec`."""
    message: str
    """What is wrong and what would be right."""


def findings(run: RunFacts) -> list[Finding]:
    """Every rule that does not hold between the parts of a run; empty when all is well."""
    return [
        *_names(run.stages),
        *_needs(run.stages),
        *_sources(run.stages),
        *_data(run.stages),
        *_unused_inputs(run.stages),
        *_missing_inputs(run.stages),
        *_storage(run),
    ]


def _names(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for i, stage in enumerate(stages):
        if stage.name is None:
            continue
        if stage.name in first:
            yield Finding(
                ("stages", i, "name"),
                f"{stage.name} is also the name of stages[{first[stage.name]}]; "
                "give each stage its own",
            )
        first.setdefault(stage.name, i)


def _needs(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    names = [stage.name for stage in stages]
    for i, stage in enumerate(stages):
        for j, need in enumerate(stage.needs or ()):
            path = ("stages", i, "needs", j)
            if need == stage.name:
                yield Finding(path, f"{need} cannot need itself; remove it")
            elif need not in names:
                if None not in names:
                    yield Finding(path, f"there is no stage {need}; {_instead(need, names[:i])}")
            elif need not in names[:i]:
                yield Finding(
                    path,
                    f"{need} stands below this stage; a stage can need only what is above it: "
                    "move one of them",
                )
            elif need in (stage.needs or ())[:j]:
                yield Finding(path, f"{need} is named twice; once is enough")


def _instead(name: str, known: Sequence[str | None]) -> str:
    names = [n for n in known if n is not None]
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"above it are: {', '.join(names)}" if names else "no stage stands above it"


def _ancestors(stages: Sequence[StageFacts], index: int) -> list[int] | None:
    """Indices of what a stage needs, directly or further up; None where that is not known."""
    seen: list[int] = []
    frontier = [index]
    while frontier:
        i = frontier.pop()
        needs = stages[i].needs
        if needs is None:
            above = [i - 1] if i > 0 else []
        else:
            above = [k for k in range(i) if stages[k].name in needs]
            if len(set(needs)) != len(above):
                return None
        new = [k for k in above if k not in seen]
        seen += new
        frontier += new
    return seen


def _sources(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    names = [stage.name for stage in stages]
    for i, stage in enumerate(stages):
        above = _ancestors(stages, i)
        for path, source in stage.sources.items():
            if source.stage is None:
                continue
            where: Path = ("stages", i, *path, "stage")
            wanted = WANTED[str(path[1])]
            if source.stage not in names:
                if None not in names:
                    right = _instead(source.stage, names[:i])
                    yield Finding(where, f"there is no stage {source.stage}; {right}")
                continue
            producer = stages[names.index(source.stage)]
            if producer.kind is not None and OUTPUT_KIND[producer.kind] != wanted:
                yield Finding(
                    where,
                    f"{source.stage} is a stage of kind {producer.kind}, which makes "
                    f"{_an(OUTPUT_KIND[producer.kind])}, and {path[1]} must be {_an(wanted)}; "
                    f"{_makers(stages[:i], wanted)}",
                )
            elif above is not None and names.index(source.stage) not in above:
                yield Finding(
                    where,
                    f"{source.stage} may not be complete by then; add it to this stage's needs",
                )


def _an(kind: ArtifactKind) -> str:
    return {"model": "a model", "data": "a dataset", "evaluation": "an evaluation"}[kind]


def _makers(stages: Sequence[StageFacts], wanted: ArtifactKind) -> str:
    names = [s.name for s in stages if s.name and s.kind and OUTPUT_KIND[s.kind] == wanted]
    if names:
        return f"name one of: {', '.join(names)}"
    return f"no stage above makes {_an(wanted)}: give a path, hub or artifact"


def _data(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    for i, stage in enumerate(stages):
        above = _ancestors(stages, i)
        if "data" in stage.inputs or stage.kind is None or above is None:
            continue
        if not any(stages[k].kind in (None, "curate") for k in above):
            yield Finding(
                ("stages", i, "inputs"),
                f"{stage.kind} reads data and no curate stage stands along its needs; "
                "add inputs: {data: {path: ...}}, or need a curate stage",
            )


def _unused_inputs(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    for i, stage in enumerate(stages):
        path: Path = ("stages", i, "inputs")
        if stage.kind is None:
            continue
        if "heldOut" in stage.inputs and stage.kind != "curate":
            yield Finding(
                (*path, "heldOut"),
                f"only a curate stage drops what overlaps with held-out sets; {stage.kind} reads "
                "none: remove it, or move it to the curate stage",
            )
        if "validation" in stage.inputs and stage.kind not in ("mathRL", "codeRL"):
            yield Finding(
                (*path, "validation"),
                f"only mathRL and codeRL validate while they train; {stage.kind} does not: "
                "remove it, or add an evaluate stage",
            )
        unasked = stage.kind == "curate" and "passRate" not in stage.settings
        if "model" in stage.inputs and unasked:
            yield Finding(
                (*path, "model"),
                "a curate stage asks a model only for passRate, which is not set; remove it, or "
                "set curate.passRate",
            )


def _missing_inputs(stages: Sequence[StageFacts]) -> Iterator[Finding]:
    for i, stage in enumerate(stages):
        path: Path = ("stages", i, str(stage.kind))
        if stage.kind in ("mathRL", "codeRL"):
            settings, problems = "validation" in stage.settings, "validation" in stage.inputs
            if settings and not problems and not stage.holds_out:
                yield Finding(
                    (*path, "validation"),
                    "has no problems to validate on; add inputs: {validation: ...} to the stage, "
                    "or heldOutShare here",
                )
            if problems and stage.holds_out:
                yield Finding(
                    (*path, "validation", "heldOutShare"),
                    "holds problems out of the stage's own data, and inputs.validation gives "
                    "others; remove one of them",
                )
            if problems and not settings:
                yield Finding(
                    ("stages", i, "inputs", "validation"),
                    "is read only where validation is set; add validation: {everySteps: 50} to "
                    f"{stage.kind}, or remove it",
                )
        if "decontamination" in stage.settings and "heldOut" not in stage.inputs:
            yield Finding(
                (*path, "decontamination"),
                "has nothing to compare with; add the evaluation sets: inputs: {heldOut: [...]}",
            )


def _storage(run: RunFacts) -> Iterator[Finding]:
    if run.on_object_store:
        paths = list(run.model_paths.items())
        for i, stage in enumerate(run.stages):
            paths += [
                (("stages", i, *path, "path"), source.path)
                for path, source in stage.sources.items()
                if source.path is not None
            ]
        for path, text in paths:
            if not text.startswith("/"):
                yield Finding(
                    path,
                    f"{text} is relative to the run file, which stages on an object store do not "
                    "see; use hub, artifact or the absolute path of a mounted volume",
                )
    if run.one_node_claim:
        for i, stage in enumerate(run.stages):
            if (stage.nodes or run.nodes or 1) > 1:
                path = ("stages", i, "nodes") if stage.nodes else ("defaults", "nodes")
                yield Finding(
                    path,
                    f"{stage.nodes or run.nodes} nodes cannot share the claim, which is "
                    "ReadWriteOnce; set storage.claimTemplate.accessMode: ReadWriteMany",
                )
                if not stage.nodes:
                    return
