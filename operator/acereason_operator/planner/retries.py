"""Two budgets, and the wait between attempts.

`user` pays for what the stage's own code or settings caused, `infrastructure` for everything else;
the wait doubles within a budget, with a jitter that depends on the Job's name alone, so that the
same attempt always waits the same time and many runs do not return at once. A health stop is
free once: the next attempt draws the damaged stretch anew, from a state before it.
"""

from datetime import datetime, timedelta
from hashlib import sha256

from acereason_operator.api.run import Retries
from acereason_operator.api.status import AttemptClaim, Failure, Spent, StageStatus
from acereason_operator.planner import effective, messages
from acereason_operator.planner.failures import BadEnd
from acereason_operator.planner.observed import Phase
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import parse_time, rfc3339

ALMOST_A_SECOND = timedelta(microseconds=999_999)
"""Status holds whole seconds, cut: with this a wait is never shorter than was meant."""


def charge(status: StageStatus, claim: AttemptClaim, bad: BadEnd, scene: Scene) -> StageStatus:
    """The stage after an attempt ended badly: it waits for the next one, or has failed.

    status: already without the attempt. An edit made since the attempt was claimed has not been
    tried yet, so it gets a budget of its own. A train phase that ended without a record may have
    published: prepare looks before the stage is given up (`reuse.claimed`).
    """
    edited = status.spec_digest != scene.spec_digest
    before = Spent(pending=status.spent.pending) if edited else status.spent
    allowed = effective.retries(scene.run.spec, scene.stage)
    spent = _spend(before, bad, claim.phase)
    out = _is_out(spent, before, bad, allowed)
    if edited and out:
        spent, out = before, False
    if claim.phase == "Train" and not bad.recorded and bad.verdict != "BadConfiguration":
        out = False
    budget = "" if bad.verdict == "BadConfiguration" else _used(spent, before, allowed)
    message = messages.of_bad_end(bad, claim.number, claim.phase, budget, scene)
    health = bad.verdict == "HealthStop"
    status = status.model_copy(
        update={
            "spent": spent,
            "last_failure": Failure(
                pod=bad.pod, node=bad.node, exit_code=bad.exit_code, reason=bad.reason,
                message=message, log_tail=bad.log_tail, verdict=bad.verdict,
                time=rfc3339(scene.now),
            ),
            "salt": status.salt + 1 if health else status.salt,
            "before_step": _before_damage(status, bad, scene) if health else status.before_step,
        }
    )  # fmt: skip
    if out:
        todo = messages.what_to_do(bad.verdict, bad.reason, scene)
        return failed(status, f"{message}. try: {todo}", scene)
    return wait(status, claim, _tries(spent, before), message, scene)


def wait(
    status: StageStatus, claim: AttemptClaim, tries: int, message: str, scene: Scene
) -> StageStatus:
    """BackingOff after the `tries`-th bad end of one cause."""
    at = scene.now + backoff(claim.job, tries, scene) + ALMOST_A_SECOND
    return status.model_copy(
        update={"state": "BackingOff", "retry_at": rfc3339(at), "message": message}
    )


def failed(status: StageStatus, message: str, scene: Scene) -> StageStatus:
    """The stage is given up until its part of the run is edited."""
    return status.model_copy(
        update={
            "state": "Failed",
            "message": message,
            "retry_at": None,
            "finished_at": rfc3339(scene.now),
        }
    )


def used_up(status: StageStatus, scene: Scene) -> StageStatus:
    """The stage is given up: prepare found that its last attempt had not published after all."""
    last = status.last_failure
    said = last.message if last else f"stage {status.name}: its retries are used up"
    verdict, reason = (last.verdict or "User", last.reason) if last else ("User", "")
    return failed(status, f"{said}. try: {messages.what_to_do(verdict, reason, scene)}", scene)


def backoff(job: str, tries: int, scene: Scene) -> timedelta:
    """Wait after the `tries`-th bad end: doubled each time, 0.75 to 1.25 of that by the name."""
    context = scene.context
    doubled: int = 2 ** min(tries - 1, 32)
    draw = int.from_bytes(sha256(job.encode()).digest()[:4], "big") / 2**32
    return min(context.first_backoff * doubled, context.longest_backoff) * (0.75 + draw / 2)


def due(status: StageStatus) -> datetime | None:
    """When the next attempt may start."""
    return parse_time(status.retry_at) if status.retry_at else None


def covers(allowed: Retries, spent: Spent) -> bool:
    """Whether the budgets allow one more attempt."""
    return spent.user <= allowed.user and spent.infrastructure <= allowed.infrastructure


def _spend(spent: Spent, bad: BadEnd, phase: Phase) -> Spent:
    match bad.verdict:
        case "User" | "BadConfiguration":
            return _plus(spent, user=1)
        case "Infrastructure" | "Stopped":
            # An end that we asked for is not judged at all: who else stops pods again and again
            # (a probe that fails, a deadline in a podTemplate) would do so for ever.
            return _plus(spent, infrastructure=1)
        case "HealthStop":
            return _plus(spent, health=1, user=1 if spent.health else 0)
        case "CorruptInput":
            # Prepare found the same input good meanwhile: the reading machine is at fault.
            again = phase == "Train" and spent.corrupt_input > 0
            return _plus(spent, corrupt_input=1, infrastructure=1 if again else 0)


def _plus(spent: Spent, **more: int) -> Spent:
    return spent.model_copy(update={name: getattr(spent, name) + n for name, n in more.items()})


def _is_out(spent: Spent, before: Spent, bad: BadEnd, allowed: Retries) -> bool:
    if bad.verdict == "BadConfiguration":
        return True
    user = spent.user > before.user and spent.user > allowed.user
    infrastructure = (
        spent.infrastructure > before.infrastructure
        and spent.infrastructure > allowed.infrastructure
    )
    return user or infrastructure


def _tries(spent: Spent, before: Spent) -> int:
    """How often the budget that paid has paid; 1 where nobody did."""
    if spent.user > before.user:
        return spent.user
    return spent.infrastructure if spent.infrastructure > before.infrastructure else 1


def _used(spent: Spent, before: Spent, allowed: Retries) -> str:
    if spent.user > before.user:
        return f"{spent.user} of {allowed.user + 1} attempts used"
    if spent.infrastructure > before.infrastructure:
        return f"{spent.infrastructure} of {allowed.infrastructure + 1} infrastructure losses"
    return "not counted"


def _before_damage(status: StageStatus, bad: BadEnd, scene: Scene) -> int:
    rl = scene.stage.math_rl or scene.stage.code_rl
    window = rl.health.window if rl and rl.health else 1
    step = bad.step if bad.step is not None else status.step
    return max(step - window, 0)
