"""Holding a run or a stage back: its attempt is stopped, charged to nobody, and what it saved
stands. Only a queue flips a Job's own `suspend`; ours deletes the Job, and going on is a new
attempt from the newest state. What an environment leaves out for now (`Context.left_out`) only
waits, with its reason: nobody suspended it."""

from acereason_operator.api.status import StageStatus
from acereason_operator.planner.scene import Scene


def held(status: StageStatus, scene: Scene) -> StageStatus:
    """A stage without an attempt that a person holds back, or nobody asked for."""
    if not scene.suspended:
        why = scene.context.left_out[scene.stage.name]
        return status.model_copy(update={"state": "Waiting", "message": why, "retry_at": None})
    whose = "spec.suspend" if scene.run.spec.suspend else "its own suspend"
    return status.model_copy(
        update={"state": "Suspended", "message": f"held back by {whose}", "retry_at": None}
    )


def released(status: StageStatus) -> StageStatus:
    """The same stage once nobody holds it back."""
    if status.state != "Suspended":
        return status
    return status.model_copy(update={"state": "Waiting", "message": ""})
