"""The life of one stage: prepare is claimed, its record read, train claimed, its end judged.

Each function takes the stage as status has it and returns it one decision later. Nothing is
started here: what should run follows from the claims alone (`jobs.py`), so a decision that was
written and not carried out is carried out by whoever looks next.
"""

from acereason_trainer.config.stage_file import ResultRecord

from acereason_operator.api.status import AttemptClaim, Failure, StageStatus, StopReason
from acereason_operator.planner import (
    deadlines,
    failures,
    hindrances,
    messages,
    retries,
    reuse,
    suspend,
)
from acereason_operator.planner.ends import is_over
from acereason_operator.planner.failures import BadEnd
from acereason_operator.planner.observed import JobView
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.stages import FINAL
from acereason_operator.planner.times import rfc3339


def advanced(status: StageStatus, scene: Scene) -> StageStatus:
    """The stage after all that can be decided on it now. A finished stage stays as it is."""
    if status.state in FINAL:
        return status
    if status.attempt is not None:
        status = _in_flight(status, status.attempt, scene)
    if status.attempt is None and status.state not in FINAL:
        status = _between_attempts(status, scene)
    return status


def _in_flight(status: StageStatus, claim: AttemptClaim, scene: Scene) -> StageStatus:
    job = scene.job(claim.job)
    if job is None:
        return _unseen(status, claim, scene) if not claim.seen else _gone(status, claim, scene)
    if not claim.seen:
        claim = claim.model_copy(update={"seen": True})
        status = status.model_copy(update={"attempt": claim})
    status = deadlines.with_clock(status, claim, job, scene)
    claim = status.attempt or claim
    done = _ended(status, claim, job, scene)
    if done is not None:
        return done
    reason = claim.stopping or _reason_to_stop(status, claim, job, scene)
    return status.model_copy(
        update={
            "attempt": claim.model_copy(update={"stopping": reason}),
            "state": _state(claim, job),
            "message": _message(status, reason, job),
        }
    )


def _ended(
    status: StageStatus, claim: AttemptClaim, job: JobView, scene: Scene
) -> StageStatus | None:
    """The stage if its Job has ended, however; None while it goes on."""
    over = is_over(job, scene.now)
    result = job.result
    # An edit takes the key away: what was published then is another work's, and stays under its
    # own key for whoever wants that again.
    meant = claim.prepared is not None and claim.prepared.key == status.key
    if meant and result is not None and result.artifact is not None:
        return _complete(status, claim, result, scene) if over else None
    if claim.stopping is not None:
        return _stopped(status, claim, scene) if over else None
    if claim.phase == "Prepare" and job.prepare is not None and over:
        status = status.model_copy(update={"prepare": job.prepare})
        going_on = reuse.claimed(status, claim, job.prepare, scene)
        if going_on is not None:
            return going_on
    bad = failures.bad_end(job, scene)
    return _bad(status, claim, bad, scene) if bad is not None else None


def _reason_to_stop(
    status: StageStatus, claim: AttemptClaim, job: JobView, scene: Scene
) -> StopReason | None:
    if scene.held_back:
        return "Suspended"
    return deadlines.passed(status, claim, job, scene)


def _unseen(status: StageStatus, claim: AttemptClaim, scene: Scene) -> StageStatus:
    """A claim that nobody has carried out yet stands, unless it is no longer wanted. (If its Job
    does appear, it belongs to no claim and is stopped.)"""
    unwanted = claim.stopping or scene.held_back or scene.waits_for or scene.inputs is None
    if unwanted:
        return _stopped(status, claim, scene)
    no_room = scene.no_room.get(claim.job)
    if no_room is None:
        return status  # what was told of an earlier try stands until the next one
    return status.model_copy(update={"message": hindrances.of_no_room(claim.job, no_room).advised})


def _gone(status: StageStatus, claim: AttemptClaim, scene: Scene) -> StageStatus:
    """Whether it had published is for the next prepare to see, not to be guessed."""
    if claim.stopping is not None:
        return _stopped(status, claim, scene)
    return _bad(status, claim, failures.JOB_GONE, scene)


def _bad(status: StageStatus, claim: AttemptClaim, bad: BadEnd, scene: Scene) -> StageStatus:
    return retries.charge(_without_attempt(status, claim, scene), claim, bad, scene)


def _stopped(status: StageStatus, claim: AttemptClaim, scene: Scene) -> StageStatus:
    """After an end that we asked for: nobody pays."""
    status = _without_attempt(status, claim, scene)
    if claim.stopping == "ActiveDeadline":
        return _out_of_time(status, scene)
    if claim.stopping == "PendingDeadline":
        tries = status.spent.pending + 1
        spent = status.spent.model_copy(update={"pending": tries})
        status = status.model_copy(update={"spent": spent})
        message = f"{deadlines.given_back(tries, scene)}{_why(status, claim.stopping)}"
        return retries.wait(status, claim, tries, message, scene)
    return status.model_copy(update={"state": "Waiting", "message": "", "retry_at": None})


def _out_of_time(status: StageStatus, scene: Scene) -> StageStatus:
    message = (
        f"stage {status.name} ran {status.active_seconds:.0f} s in all, past deadlines.active."
        " try: raise it; the stage goes on from its newest state"
    )
    failure = Failure(reason="ActiveDeadline", message=message, time=rfc3339(scene.now))
    return retries.failed(status.model_copy(update={"last_failure": failure}), message, scene)


def _complete(
    status: StageStatus, claim: AttemptClaim, result: ResultRecord, scene: Scene
) -> StageStatus:
    status = _without_attempt(status, claim, scene)
    return status.model_copy(
        update={
            "state": "Complete",
            "message": messages.of_publishing(result.publish_seconds, scene.grace),
            "artifact": result.artifact,
            "step": result.step,
            "metrics": dict(result.metrics),
            "retry_at": None,
            "finished_at": rfc3339(scene.now),
        }
    )


def _without_attempt(status: StageStatus, claim: AttemptClaim, scene: Scene) -> StageStatus:
    until = deadlines.ran_until(scene.job(claim.job), scene.now)
    status = deadlines.stopped_clock(status, claim, until)
    return status.model_copy(update={"attempt": None, "step_seen_at": None})


def _between_attempts(status: StageStatus, scene: Scene) -> StageStatus:
    if scene.held_back:
        return suspend.held(status, scene)
    status = suspend.released(status)
    if scene.waits_for or scene.inputs is None:
        waiting = scene.waits_for or "an input is being made again"
        return status.model_copy(update={"state": "Waiting", "message": waiting, "retry_at": None})
    retry_at = retries.due(status)
    if retry_at is not None and scene.now < retry_at:
        return status
    open_jobs = [j for j in scene.jobs if not is_over(j, scene.now)]
    if open_jobs:
        message = f"waits for {open_jobs[0].name} to end"
        return status.model_copy(update={"message": message})
    return _prepare_claimed(status, scene)


def _prepare_claimed(status: StageStatus, scene: Scene) -> StageStatus:
    number = max([status.attempts, *(job.attempt for job in scene.jobs)]) + 1
    now = rfc3339(scene.now)
    return status.model_copy(
        update={
            "state": "Preparing",
            "message": "",
            "attempt": AttemptClaim(
                number=number,
                phase="Prepare",
                job=scene.job_name(number, "Prepare"),
                claimed_at=now,
            ),
            "attempts": number,
            "settings_digest": scene.settings_digest,
            "spec_digest": scene.spec_digest,
            "retry_at": None,
            "started_at": status.started_at or now,
        }
    )


def _state(claim: AttemptClaim, job: JobView) -> str:
    if claim.phase == "Prepare":
        return "Preparing"
    return "Running" if claim.started_at and not job.queued else "Pending"


def _message(status: StageStatus, reason: StopReason | None, job: JobView) -> str:
    hindered = hindrances.hindrance(job)
    if reason is not None:
        why = f": {hindered.told}" if hindered and reason == "PendingDeadline" else ""
        return f"{_stopping(reason)}{why or _why(status, reason)}"
    if job.queued:
        return "waits in the queue"
    return hindered.advised if hindered else ""


def _stopping(reason: StopReason) -> str:
    return f"stopping ({reason})"


def _why(status: StageStatus, reason: StopReason) -> str:
    """What kept the pods of an attempt from running that is being stopped. Only the message still
    tells it: the pods themselves are gone by the end."""
    told = status.message.removeprefix(_stopping(reason))
    return told if told != status.message else ""
