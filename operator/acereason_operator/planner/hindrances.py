"""Why the pods of a Job do not run: for want of room, which comes by itself, or for something that
a person has to correct.

What needs correcting is told at once and makes the run Stalled: at once where a container cannot
start, and after a while where a pod cannot be made, placed or set up, since a volume that is being
made or a node that is being added looks the same at first.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from acereason_operator.planner.observed import JobView

CANNOT_START = (
    "ErrImagePull",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)
"""Waiting reasons of a container that a person has to see to."""

CANNOT_BE_SET_UP = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
"""Reasons of Events on a pod that has a node and no container yet: a volume whose Secret is not
there or that another node holds, a network that gives no address."""

FOR_ROOM = ("Insufficient ", "exceeded quota", "Too many pods", "anti-affinity")
"""Words of the scheduler and of quotas. (Pods of one attempt keep off each other's nodes: that the
rule has no node left means that there are too few.)"""

NOT_ALLOWED_ON = re.compile(
    r"untolerated taint \{(?!node(-role)?\.kubernetes\.io/)|node affinity/selector"
)
"""Words of the scheduler on nodes that a pod keeps off, where a person may have meant them: not the
taints of a control plane and of nodes in trouble."""

SOME_TAINT = "untolerated taint(s)"
"""The same since Kubernetes 1.35, which names no taint: often that of a control plane alone."""

UNPLACED = timedelta(minutes=10)
"""Before a pod that is not placed makes a run Stalled: a node that is added takes minutes."""
NOT_SET_UP = timedelta(minutes=3)
"""Before a pod that has a node and no containers does: a volume that another pod has just left is
detached in a minute or so, and a new node's drivers take as long to come up."""
REFUSED = timedelta(minutes=1)
"""Before a pod that cannot be made does: a service account or a webhook that comes up with it."""


@dataclass(frozen=True)
class Hindrance:
    """What keeps pods from running."""

    reason: str
    """CamelCase word."""
    told: str
    """Sentence without a full stop: which pod, and what the cluster says."""
    for_room: bool
    """Whether room is missing."""
    stalls_at: datetime | None
    """When a person should look; None where waiting is all there is to it."""
    kept_off: bool = False
    """Whether a person may have meant nodes that the pods keep off."""

    @property
    def advised(self) -> str:
        """The sentence with what to do."""
        if self.for_room:
            advice = "make room, or ask for less; it starts by itself then"
            if self.kept_off:
                advice += "; or, if the other nodes are meant, add their toleration or selector to"
                advice += " podTemplate"
            return f"{self.told}. try: {advice}"
        if self.stalls_at is None:
            return self.told
        return (
            f"{self.told}. try: correct what it names and apply the run again; it goes on by itself"
            " where the trouble passes"
        )


def hindrance(job: JobView) -> Hindrance | None:
    """What keeps the pods of a Job from running; None where nothing says so."""
    begun = job.admitted_at or job.created_at
    waiting = [pod for pod in job.pods if pod.waiting_reason]
    # A container that cannot start tells more than a peer that waits for it.
    waiting.sort(key=lambda pod: _telling(pod.waiting_reason))
    if waiting:
        pod = waiting[0]
        said = pod.waiting_message.rstrip(".")
        if pod.waiting_reason in CANNOT_START:
            told = f"pod {pod.name} cannot start: {said or pod.waiting_reason}"
            return Hindrance(pod.waiting_reason, told, for_room=False, stalls_at=begun)
        told = f"pod {pod.name}: {pod.waiting_reason}" + (f": {said}" if said else "")
        if pod.waiting_reason in CANNOT_BE_SET_UP:
            at = (pod.placed_at or begun) + NOT_SET_UP
            return Hindrance(pod.waiting_reason, told, for_room=False, stalls_at=at)
        if pod.waiting_reason == "Unschedulable":
            return _not_there("Unschedulable", told, begun + UNPLACED)
        return Hindrance(pod.waiting_reason, told, for_room=False, stalls_at=None)
    if job.message and not (job.pods or job.finished or job.stopping):
        return _not_there("PodsRefused", job.message.rstrip("."), begun + REFUSED)
    return None


def of_no_room(job: str, said: str) -> Hindrance:
    """What keeps a Job from being made: a quota, whose sentence is given."""
    told = f"Job {job} cannot be made yet: {said.rstrip('.')}"
    return Hindrance("NoRoom", told, for_room=True, stalls_at=None)


def _telling(reason: str) -> int:
    if reason in CANNOT_START:
        return 0
    return 1 if reason in CANNOT_BE_SET_UP else 2


def _not_there(reason: str, told: str, at: datetime) -> Hindrance:
    for_room = any(words in told for words in FOR_ROOM)
    surely_kept_off = NOT_ALLOWED_ON.search(told) is not None
    stalls_at = None if for_room and not surely_kept_off else at
    return Hindrance(reason, told, for_room, stalls_at, surely_kept_off or SOME_TAINT in told)
