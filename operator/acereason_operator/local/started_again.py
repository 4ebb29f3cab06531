"""What a person says by starting a run again: what failed may be tried again, at once, and what was
edited is made again.

On a cluster the result of a finished stage stands, whatever happens to its part of the spec. On a
laptop people edit a file and start it again, and mean it: a finished stage that would now come out
differently opens again, with all stages below it. Those whose inputs turn out the same find their
artifact under the same key, so that an edit costs only what it changes. A source that is another
one than before counts as an edit (source_files.py). A stage that went on without its runner is
stopped where what it makes is no longer wanted. A result that is no longer in the store is made
again, unless it was given up (`retention.keepIntermediate`).
"""

from collections.abc import Mapping
from pathlib import Path

from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.stage_file import PreparedInputs

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.local.source_files import SourceFiles, source_paths
from acereason_operator.planner.context import Context
from acereason_operator.planner.digests import has_this_form
from acereason_operator.planner.edits import edited_in_flight, tried_again
from acereason_operator.planner.inputs import by_input_name
from acereason_operator.planner.recipe import Recipe, recipe_of
from acereason_operator.planner.retention import is_intermediate
from acereason_operator.planner.stages import DONE


def started_again(
    run: AceReasonRun, status: RunStatus, context: Context, sources: SourceFiles
) -> RunStatus:
    """The status from which a new start goes on."""
    recipe = recipe_of(run.spec)
    status = tried_again(status)
    by_name = {s.name: s for s in status.stages}
    changed = {
        s.name
        for s in status.stages
        if (s.state in DONE or s.attempt is not None)
        and (
            _changed(s, recipe, context, sources)
            or _stale(s, recipe, by_name)
            or _gone(s, run, recipe, context)
        )
    }
    below = {name for name, above in recipe.order.ancestors.items() if changed & above.keys()}
    return status.model_copy(
        update={"stages": [_opened(s, again=changed | below) for s in status.stages]}
    )


def at_once(status: RunStatus) -> RunStatus:
    """The status in which no stage waits for its next attempt: whoever starts a run, after a power
    cut say, wants it to go on now."""
    stages = [
        s.model_copy(update={"retry_at": None}) if s.state == "BackingOff" else s
        for s in status.stages
    ]
    return status.model_copy(update={"stages": stages})


def _opened(status: StageStatus, *, again: set[str]) -> StageStatus:
    if status.name not in again:
        return status
    if status.attempt is not None:
        return edited_in_flight(status).model_copy(update={"started_at": None})
    if status.state not in DONE:
        return status
    return status.model_copy(
        update={
            "state": "Waiting",
            "message": "",
            "artifact": None,
            "started_at": None,
            "finished_at": None,
        }
    )


def _changed(status: StageStatus, recipe: Recipe, context: Context, sources: SourceFiles) -> bool:
    inputs = recipe.inputs.get(status.name)
    if inputs is None:
        return False
    stage = next(s for s in recipe.spec.stages if s.name == status.name)
    before = status.settings_digest or ""
    # Of another version of this code, it tells nothing: what is done costs little to look at again,
    # and what runs goes on.
    tells = status.attempt is None or has_this_form(before, stage)
    if tells and before != recipe.digests[status.name]:
        return True
    return any(sources.changed(path) for path in source_paths(inputs, context))


def _stale(status: StageStatus, recipe: Recipe, statuses: Mapping[str, StageStatus]) -> bool:
    """Whether it read what its producers have replaced since."""
    inputs = recipe.inputs.get(status.name)
    read = _read_by(status)
    if inputs is None or read is None:
        return False
    for name, ref in by_input_name(read):
        maker = statuses.get(inputs.producer(name) or "")
        if maker and maker.artifact and maker.artifact.digest != ref.digest:
            return True
    return False


def _read_by(status: StageStatus) -> PreparedInputs | None:
    if status.attempt is not None:
        return status.attempt.prepared.inputs if status.attempt.prepared else None
    return status.prepare.inputs if status.prepare else None


def _gone(status: StageStatus, run: AceReasonRun, recipe: Recipe, context: Context) -> bool:
    """Whether its result should be in the store and is not."""
    stage = next((s for s in run.spec.stages if s.name == status.name), None)
    if stage is None or status.state not in DONE or status.key is None:
        return False
    given_up = run.spec.retention.keep_intermediate == "final" and is_intermediate(
        run.spec, stage, recipe.order
    )
    return not given_up and DirectoryStore(Path(context.store)).lookup(status.key) is None
