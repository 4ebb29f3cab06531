"""What `prepare` found: a finished artifact under the stage's key, or the way to make one."""

from acereason_trainer.config.stage_file import Prepared, PrepareRecord

from acereason_operator.api.status import AttemptClaim, StageStatus
from acereason_operator.planner import effective, retries
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import rfc3339


def claimed(
    status: StageStatus, claim: AttemptClaim, record: PrepareRecord, scene: Scene
) -> StageStatus | None:
    """The stage with its artifact, or with its train phase claimed; None for a useless record."""
    if record.exit_code != 0 or record.key is None:
        return None
    if record.reused is not None:
        return _with_artifact(status, record, scene)
    if record.inputs is None:
        return None
    if not retries.covers(effective.retries(scene.run.spec, scene.stage), status.spent):
        return retries.used_up(status.model_copy(update={"attempt": None}), scene)
    train = AttemptClaim(
        number=claim.number,
        phase="Train",
        job=scene.job_name(claim.number, "Train"),
        prepared=Prepared(
            key=record.key, inputs=record.inputs, resume=record.resume, salt=status.salt
        ),
        claimed_at=rfc3339(scene.now),
    )
    update = {"attempt": train, "key": record.key, "state": "Pending", "message": ""}
    return status.model_copy(update=update)


def _with_artifact(status: StageStatus, record: PrepareRecord, scene: Scene) -> StageStatus:
    """Complete where an attempt of this stage trained under the key before and its end was not
    seen; else the artifact is an earlier run's or another stage's."""
    own = status.key == record.key
    return status.model_copy(
        update={
            "attempt": None,
            "state": "Complete" if own else "Reused",
            "message": "" if own else f"an artifact with its key exists: {record.key}",
            "key": record.key,
            "artifact": record.reused,
            "retry_at": None,
            "finished_at": rfc3339(scene.now),
        }
    )
