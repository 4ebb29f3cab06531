"""What garbage collection has to keep for a run. Whatever no run keeps may go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from acereason_trainer.config.stage_file import OUTPUT_KIND, PreparedInputs

from acereason_operator.api.run import AceReasonRun, AceReasonRunSpec, Stage
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.planner import stages

States = Literal["none", "newest", "all"]


@dataclass(frozen=True)
class Roots:
    """What one run keeps."""

    keys: frozenset[str]
    """Of artifacts: the names of their directories."""
    states: Mapping[str, States]
    """By stage: which of the trainer states below `work/<run>/<stage>/`. Stages that are not named
    (removed from the spec) keep none."""


def roots(run: AceReasonRun, status: RunStatus) -> Roots:
    """What the run still reads, may go on from, or was asked to keep.

    A run that is not complete keeps everything it made or read: it may still go on.
    """
    complete = all(s.state in stages.DONE for s in status.stages) and bool(status.stages)
    only_final = complete and run.spec.retention.keep_intermediate == "final"
    by_name = {s.name: s for s in status.stages}
    order = stages.order_of(run.spec)
    kept: set[str] = set()
    states: dict[str, States] = {}
    for stage in run.spec.stages:
        entry = by_name.get(stage.name, StageStatus(name=stage.name))
        done = entry.state in stages.DONE
        states[stage.name] = run.spec.retention.keep_states if done else "all"
        if not (only_final and is_intermediate(run.spec, stage, order)):
            kept.update(_keys(entry, with_inputs=not only_final))
    return Roots(frozenset(kept), states)


def is_intermediate(spec: AceReasonRunSpec, stage: Stage, order: stages.Order) -> bool:
    """A model or dataset that a later stage of its kind was built on. Evaluations are results."""
    kind = OUTPUT_KIND[stage.kind]
    return kind != "evaluation" and any(
        OUTPUT_KIND[other.kind] == kind and stage.name in order.ancestors[other.name]
        for other in spec.stages
    )


def _keys(status: StageStatus, *, with_inputs: bool) -> Iterator[str]:
    if status.key:
        yield status.key  # an attempt may have published what no status names yet
    if status.artifact:
        yield _key(status.artifact.uri)
    if not with_inputs:
        return
    if status.prepare and status.prepare.inputs:
        yield from _keys_of(status.prepare.inputs)
    if status.attempt and status.attempt.prepared:
        yield from _keys_of(status.attempt.prepared.inputs)


def _keys_of(inputs: PreparedInputs) -> Iterator[str]:
    for ref in (inputs.model, inputs.data, inputs.validation, *inputs.held_out):
        if ref is not None:
            yield _key(ref.uri)


def _key(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]
