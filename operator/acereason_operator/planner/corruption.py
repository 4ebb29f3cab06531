"""An input that does not match its digest: never replaced by an older one, never guessed around.

The first time, it is verified again, on another node where there is one. If it is bad there too,
the stage that made it runs again from its newest good state, within its own infrastructure
budget; what came from outside the run cannot be made again, so that fails with a sentence.
"""

from collections.abc import Mapping

from acereason_operator.api.status import Failure, StageStatus
from acereason_operator.planner import effective, messages, retries, stages
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import rfc3339

CONFIRMED = 2
"""Readings that disagree with the digest before a producer runs again."""


def send_back(
    statuses: Mapping[str, StageStatus], scenes: Mapping[str, Scene]
) -> dict[str, StageStatus]:
    """The run after producers of inputs that are surely corrupt were set to run again."""
    after = dict(statuses)
    for name, scene in scenes.items():
        bad = _confirmed_input(after[name])
        if bad is None:
            continue
        maker = scene.recipe.inputs[name].producer(bad)
        if maker is None:
            record = after[name].prepare
            said = messages.of_corrupt_source(bad, record.message if record else "", scene)
            after[name] = retries.failed(after[name], said, scene)
            continue
        if after[maker].state in stages.DONE:
            after[maker] = _again(after[maker], name, scenes[maker])
        after[name] = _waiting(after[name])
    return after


def node_to_avoid(status: StageStatus) -> str:
    """Where an input was last found bad; empty when the last trouble was another."""
    failure = status.last_failure
    return failure.node if failure and failure.verdict == "CorruptInput" else ""


def _confirmed_input(status: StageStatus) -> str | None:
    if status.state != "BackingOff" or status.spent.corrupt_input < CONFIRMED:
        return None
    return status.prepare.corrupt_input if status.prepare else None


def _again(maker: StageStatus, reader: str, scene: Scene) -> StageStatus:
    spent = maker.spent.model_copy(update={"infrastructure": maker.spent.infrastructure + 1})
    used_up = spent.infrastructure > effective.retries(scene.run.spec, scene.stage).infrastructure
    what = f"stage {maker.name}: its artifact is corrupt ({reader} read it twice)"
    failure = Failure(
        reason="CorruptArtifact",
        message=what if used_up else f"{what}; it is made again",
        verdict="Infrastructure",
        time=rfc3339(scene.now),
    )
    reset = maker.model_copy(
        update={
            "state": "Waiting",
            "message": "",
            "artifact": None,
            "started_at": None,
            "finished_at": None,
            "spent": spent,
            "last_failure": failure,
        }
    )
    if used_up:
        message = f"{what} and retries.infrastructure is used up; see to the storage, then raise it"
        return retries.failed(reset, message, scene)
    return reset


def _waiting(reader: StageStatus) -> StageStatus:
    spent = reader.spent.model_copy(update={"corrupt_input": 0})
    return reader.model_copy(update={"state": "Waiting", "retry_at": None, "spent": spent})
