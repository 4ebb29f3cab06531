"""What an edit of the spec does to stages that have begun. Looked at when the generation changes.

- done: nothing. Its result stands, the rest of the run goes on from it, and its message says so.
  (The API server refuses such edits; a laptop opens the stage again before it plans.)
- in flight, and the edit changes results: the attempt is stopped and the stage starts again under
  its new key. An edit that keeps the key leaves an attempt that runs alone; the next one is told of
  it. An attempt that cannot start (a wrong image, no room, a queue that is no longer the run's) is
  stopped: the edit may be the cure.
- failed, or between attempts: any edit of what an attempt is told gives new budgets, and a failed
  stage also goes on when its budgets are raised.
- failed, and the edit suspends it: it is open again, with new budgets, once it is resumed. So a
  person says that what no edit shows (a full disk, a missing Secret) is set right.
- not begun: nothing to do, the future is read from the spec.
"""

from acereason_operator.api.run import Stage
from acereason_operator.api.status import AttemptClaim, RunStatus, Spent, StageStatus
from acereason_operator.planner import digests, effective, retries
from acereason_operator.planner.recipe import Recipe
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.stages import DONE

RESULT_STANDS = (
    "was edited after it finished; its result stands. Undo the edit, or give the changed stage"
    " another name to run it"
)


def adopted(status: StageStatus, stage: Stage, recipe: Recipe) -> StageStatus:
    """The stage with digests of this form, of the spec as it is: another version of this code wrote
    them, and nobody can tell from them what was edited."""
    old = status.settings_digest
    if old is None or digests.has_this_form(old, stage):
        return status
    settings = recipe.digests[stage.name]
    whole = digests.spec_digest(recipe.spec, stage, settings)
    return status.model_copy(update={"settings_digest": settings, "spec_digest": whole})


def applied(status: StageStatus, scene: Scene) -> StageStatus:
    """The stage after the spec was edited in some way, which may not concern it."""
    if status.settings_digest is None:
        return status
    new_results = scene.settings_digest != status.settings_digest
    new_orders = scene.spec_digest != status.spec_digest
    if status.state in DONE:
        return _noted(status, f"stage {status.name} {RESULT_STANDS}" if new_results else "")
    if new_results:
        return edited_in_flight(status) if status.attempt else _other_work(_open(status))
    if status.attempt is not None:
        stuck = new_orders and _cannot_start(status.attempt, scene)
        return _stopping(status, status.attempt) if stuck else status
    if new_orders or (status.state == "Failed" and scene.suspended):
        return _open(status.model_copy(update={"spent": Spent()}))
    return _open(status) if _allowed_again(status, scene) else status


def edited_in_flight(status: StageStatus) -> StageStatus:
    """A stage whose attempt in flight makes what is no longer wanted: the attempt is stopped, for
    no other reason than this one, and what it may publish meanwhile is not the stage's result."""
    if status.attempt is None:
        return status
    return _stopping(_other_work(status), status.attempt)


def tried_again(status: RunStatus) -> RunStatus:
    """The status in which failed stages have new budgets and their run goes on.

    For a person who has set right what no edit of the run would show (a missing file, a full disk)
    and says so, for example by starting the same command again.
    """
    stages = [
        _open(s.model_copy(update={"spent": Spent()})) if s.state == "Failed" else s
        for s in status.stages
    ]
    return status.model_copy(update={"stages": stages})


def _stopping(status: StageStatus, claim: AttemptClaim) -> StageStatus:
    return status.model_copy(update={"attempt": claim.model_copy(update={"stopping": "Edited"})})


def _cannot_start(claim: AttemptClaim, scene: Scene) -> bool:
    """Whether something keeps its pods from running, or from being made. (The run's queue does
    not: whoever waits there keeps the place. A Job that is held back cannot be moved to another.)
    """
    job = scene.job(claim.job)
    if job is None or job.finished:
        return False
    if job.queued:
        queue = scene.run.spec.queue
        return job.queue != (queue.name if queue else "")
    if claim.phase == "Train" and any(pod.phase == "Pending" for pod in job.pods):
        return True  # nothing is trained yet, whether or not the cluster says what it waits for
    return not job.pods or any(pod.waiting_reason for pod in job.pods)


def _noted(status: StageStatus, message: str) -> StageStatus:
    if message or RESULT_STANDS in status.message:
        return status.model_copy(update={"message": message})
    return status


def _other_work(status: StageStatus) -> StageStatus:
    return status.model_copy(
        update={
            "spent": Spent(),
            "key": None,
            "salt": 0,
            "before_step": None,
            "step": 0,
            "total_steps": None,
            "metrics": {},
            "active_seconds": 0.0,
        }
    )


def _open(status: StageStatus) -> StageStatus:
    return status.model_copy(
        update={"state": "Waiting", "message": "", "retry_at": None, "finished_at": None}
    )


def _allowed_again(status: StageStatus, scene: Scene) -> bool:
    failure = status.last_failure
    if (
        status.state != "Failed"
        or failure is None
        or failure.verdict not in ("User", "HealthStop", "Infrastructure", "Stopped")
    ):
        return False
    return retries.covers(effective.retries(scene.run.spec, scene.stage), status.spent)
