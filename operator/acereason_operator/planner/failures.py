"""Who pays for a Job that ended badly: a verdict over all its pods.

Peers of a preempted pod often die first and of something else (a broken collective), and what
explains them (a node that is NotReady) often shows later. So every pod is looked at, after a
settling window, and the most specific explanation wins: infrastructure, then the codes of the
launcher's contract in the order of PRECEDENCE.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from acereason_trainer.config.exit_codes import CONSEQUENCES, ExitCode

from acereason_operator.planner.ends import ended, is_lost, is_over, lost_since
from acereason_operator.planner.observed import JobView, PodView
from acereason_operator.planner.scene import Scene
from acereason_operator.planner.times import earliest

Verdict = Literal[
    "Infrastructure", "User", "BadConfiguration", "CorruptInput", "HealthStop", "Stopped"
]

OF_CODE: dict[int, Verdict] = {
    ExitCode.BAD_CONFIGURATION: "BadConfiguration",
    ExitCode.CORRUPT_INPUT: "CorruptInput",
    ExitCode.HEALTH_STOP: "HealthStop",
    ExitCode.TEMPORARY: "Infrastructure",
    ExitCode.STOPPED: "Stopped",
}
"""What the contract's codes mean; any other code is the user's."""

KILLED = 137
"""128 + SIGKILL."""

PRECEDENCE: tuple[int | None, ...] = (
    ExitCode.BAD_CONFIGURATION,
    ExitCode.CORRUPT_INPUT,
    None,  # the user's
    ExitCode.HEALTH_STOP,
    ExitCode.TEMPORARY,
    ExitCode.STOPPED,
)


@dataclass(frozen=True)
class BadEnd:
    """A Job's end, explained."""

    verdict: Verdict
    reason: str
    """CamelCase word."""
    what: str
    """What happened, as a clause: `rank 3 ran out of memory`."""
    pod: str = ""
    node: str = ""
    exit_code: int | None = None
    step: int | None = None
    """Last completed step, where a record says so."""
    log_tail: str = ""
    rank: int | None = None
    """Which rank failed, where a record says so."""
    recorded: bool = False
    """Whether a record says how it ended; without one, it may have done its work."""


JOB_GONE = BadEnd("Infrastructure", "JobGone", "its Job was removed by somebody else")

PODS_GONE = BadEnd("Infrastructure", "PodsGone", "no pod of it is left to say how it ended")
"""As an operator finds it that was away while they were removed."""


def bad_end(job: JobView, scene: Scene) -> BadEnd | None:
    """How a Job that did not do its work ended; None while that is not certain yet."""
    if not _has_bad_end(job, scene):
        return None
    if scene.now < _settled(job, scene):
        return None
    return _explanation(job, scene)


def due(job: JobView, scene: Scene) -> datetime | None:
    """When a bad end that is seen becomes certain, or a pod counts as lost."""
    lost = [lost_since(pod) for pod in job.pods]
    if _has_bad_end(job, scene):
        return earliest(_settled(job, scene), *lost)
    return earliest(*lost)


def _has_bad_end(job: JobView, scene: Scene) -> bool:
    now = scene.now
    return is_over(job, now) or any(_failed(p) or is_lost(p, now) for p in job.pods)


def _failed(pod: PodView) -> bool:
    return pod.phase == "Failed" or pod.exit_code not in (None, 0)


def _settled(job: JobView, scene: Scene) -> datetime:
    bad = [p for p in job.pods if _failed(p)] or [p for p in job.pods if ended(p)]
    first = earliest(*(p.finished_at or p.terminating_since for p in bad))
    return (first or job.created_at) + scene.context.settling


def _explanation(job: JobView, scene: Scene) -> BadEnd:
    taken = next((p for p in job.pods if _taken(p, scene)), None)
    if taken is not None:
        return _infrastructure(taken)
    # A stable sort: of pods that say why, the first to end still is first.
    ends = sorted(_codes(job), key=lambda end: _is_a_consequence(end[1]))
    if deleted := _deleted_before(ends, job):
        return _deleted(deleted)
    for wanted in PRECEDENCE:
        for code, pod in ends:
            if wanted == code or (wanted is None and code not in OF_CODE):
                return _by_code(job, code, pod)
    if not job.pods:
        return PODS_GONE
    pod = min(job.pods, key=lambda p: (not _failed(p), p.terminating_since is None))
    if _was_deleted(pod):
        return _deleted(pod)
    return BadEnd("Infrastructure", "NoRecord", "it ended without a record", pod.name, pod.node)


def _deleted_before(ends: list[tuple[int, PodView | None]], job: JobView) -> PodView | None:
    """A pod that was deleted before others ended, which only say that they lost a peer. Afterwards
    the Job controller deletes what is left, and that explains nothing."""
    if not ends or not all(_is_a_consequence(pod) for _, pod in ends):
        return None
    first = earliest(*(pod.finished_at for _, pod in ends if pod))

    def was_first(pod: PodView) -> bool:
        since = pod.terminating_since
        # Times are whole seconds. Within one, peers miss a killed pod, but the Job controller still
        # waits for more ends; so a tie is somebody else's deletion.
        return since is not None and (first is None or since <= first)

    deleted = (p for p in job.pods if p.exit_code is None and _was_deleted(p) and was_first(p))
    return next(deleted, None)


def _was_deleted(pod: PodView) -> bool:
    """Whether somebody ended it before it had ended by itself, and it could say nothing more."""
    if pod.terminating_since is None or pod.result is not None:
        return False
    unfinished = pod.finished_at is None or pod.terminating_since <= pod.finished_at
    return unfinished and pod.exit_code in (None, KILLED)


def _deleted(pod: PodView) -> BadEnd:
    where = f" from node {pod.node}" if pod.node else ""
    what = f"pod {pod.name} was deleted{where} before it had ended"
    return BadEnd(
        "Infrastructure", "PodDeleted", what, pod.name, pod.node, pod.exit_code,
        log_tail=pod.log_tail,
    )  # fmt: skip


def _codes(job: JobView) -> list[tuple[int, PodView | None]]:
    """Non-zero codes with their pods, first end first."""
    pods = sorted(job.pods, key=_end_or_last)
    if job.prepare is not None and job.prepare.exit_code != 0:
        return [(job.prepare.exit_code, pods[0] if pods else None)]
    codes: list[tuple[int, PodView | None]] = []
    for pod in pods:
        code = pod.exit_code
        if code is None and pod.result is not None:
            code = pod.result.exit_code
        if code:
            codes.append((code, pod))
    return codes


def _is_a_consequence(pod: PodView | None) -> bool:
    return pod is not None and pod.result is not None and pod.result.reason in CONSEQUENCES


def _taken(pod: PodView, scene: Scene) -> bool:
    return pod.disrupted or pod.node_ready is False or is_lost(pod, scene.now)


def _infrastructure(pod: PodView) -> BadEnd:
    node = pod.node or "unknown"
    if pod.disrupted:
        return BadEnd(
            "Infrastructure", "Disrupted", f"pod {pod.name} was taken from node {node}",
            pod.name, pod.node, pod.exit_code,
        )  # fmt: skip
    what = f"node {node} is not ready"
    if pod.node_ready is None:
        what = f"pod {pod.name} did not end: its node {node} does not answer"
    return BadEnd("Infrastructure", "NodeLost", what, pod.name, pod.node, pod.exit_code)


def _by_code(job: JobView, code: int, pod: PodView | None) -> BadEnd:
    if pod is not None and job.prepare is None and _was_deleted(pod):
        return _deleted(pod)
    result = pod.result if pod else None
    said = job.prepare.message if job.prepare else (result.message if result else "")
    recorded = result is not None or job.prepare is not None
    return BadEnd(
        verdict=_verdict(code, recorded=recorded),
        reason=(result.reason if result else "") or OF_CODE.get(code, "Error"),
        what=said or _of_signal(code),
        pod=pod.name if pod else "",
        node=pod.node if pod else "",
        exit_code=code,
        step=result.step if result else None,
        log_tail=result.log_tail if result else (pod.log_tail if pod else ""),
        rank=result.rank if result else None,
        recorded=recorded,
    )


def _verdict(code: int, *, recorded: bool) -> Verdict:
    """A launcher that was killed itself could not say what happened: that is nobody's code."""
    if code == KILLED and not recorded:
        return "Infrastructure"
    return OF_CODE.get(code, "User")


def _of_signal(code: int) -> str:
    known = {
        137: "it was killed (SIGKILL: most often out of memory)",
        139: "it crashed (SIGSEGV)",
        134: "it aborted (SIGABRT)",
    }
    return known.get(code, "it ended with an error")


def _end_or_last(pod: PodView) -> float:
    return pod.finished_at.timestamp() if pod.finished_at else float("inf")
