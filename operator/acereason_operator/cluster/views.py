"""Jobs and pods as the planner sees them: pure readings of what the API server holds.

Whatever is missing, cut or malformed in an object counts as not said; nothing is guessed.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import PrepareRecord, Progress, ResultRecord

from acereason_operator.cluster import labels
from acereason_operator.cluster.conditions import condition
from acereason_operator.cluster.events import newest, note_of
from acereason_operator.cluster.pod_view import asked_to_end, pod_view, prepare_record
from acereason_operator.cluster.protocol import RUN, ClusterError, Object
from acereason_operator.planner.actions import CreateJob
from acereason_operator.planner.observed import JobView, Phase, PodView
from acereason_operator.planner.times import parse_time

PHASES: dict[str, Phase] = {"prepare": "Prepare", "train": "Train"}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FORBIDDEN = 403
_PASSING = ("cannot create resource", "cannot patch resource", "is being terminated")
"""What a server says that forbids now what it may allow later: permissions of the operator, a
namespace that goes with all its runs."""
_QUOTA = "exceeded quota"


def run_of(body: Object) -> tuple[str, str] | None:
    """(namespace, name) of the run that an object is, or whose phase it carries out (a Job, a Pod);
    None for anybody else's, and for one that does not say which phase."""
    meta = body["metadata"]
    if body.get("kind") == RUN.kind:
        return meta["namespace"], meta["name"]
    of = meta.get("labels") or {}
    if of.get(labels.MANAGED_BY) != labels.MANAGER or not {labels.RUN, labels.STAGE} <= set(of):
        return None
    if of.get(labels.PHASE) not in PHASES or not of.get(labels.ATTEMPT, "").isdecimal():
        return None
    return meta["namespace"], of[labels.RUN]


def job_view(
    job: Object,
    pods: Iterable[Object],
    node_ready: Callable[[str], bool | None],
    progress: Progress | None,
    events: Collection[Object] = (),
) -> JobView:
    """A Job of ours and its pods.

    pods: those that the Job controls. node_ready: by node name. progress: what rank 0 last said.
    events: of the Job itself, asked for where it has no pods (a quota that refuses them shows
    nowhere else), or of a pod that does not start (so does a volume that is not there).
    """
    meta, spec, status = job["metadata"], job["spec"], job.get("status") or {}
    of = meta["labels"]
    phase = PHASES[of[labels.PHASE]]
    end = condition(status, "Complete") or condition(status, "Failed")
    finished = end is not None
    queued = is_held_back(job) and not finished
    started = status.get("startTime")
    counted = [] if queued else [pod for pod in pods if not _of_an_earlier_start(pod, started)]
    views = tuple(pod_view(pod, phase, node_ready, events) for pod in sorted(counted, key=_name))
    records = [prepare_record(pod) for pod in counted] if phase == "Prepare" else []
    return JobView(
        name=meta["name"],
        stage=of[labels.STAGE],
        attempt=int(of[labels.ATTEMPT]),
        phase=phase,
        created_at=parse_time(meta["creationTimestamp"]),
        finished=finished,
        finished_at=_since(end),
        stopping="deletionTimestamp" in meta or condition(status, "FailureTarget") is not None,
        queued=queued,
        queued_since=_since(condition(status, "Suspended")) if queued else None,
        queue=of.get(labels.QUEUE, ""),
        admitted_at=parse_time(started) if started else None,
        message=_message(meta["name"], status, events),
        pods_wanted=spec.get("completions") or 1,
        pods=views,
        progress=progress,
        prepare=next((record for record in records if record is not None), None),
    )


def is_held_back(job: Object) -> bool:
    """Whether a queue has a Job, or has just let it go: until the Job controller takes note, the
    pods that are there are of an earlier admission."""
    return bool(job["spec"].get("suspend") or condition(job.get("status") or {}, "Suspended"))


def waits_for_room(error: ClusterError) -> bool:
    """Whether a Job, or what it needs, is refused for a quota alone: room is waited for."""
    return error.status == _FORBIDDEN and _QUOTA in str(error)


def refused_view(action: CreateJob, error: ClusterError) -> JobView:
    """A Job that the server will not have, as one that ended at once with the server's sentence.

    What is wrong with the Job itself (an invalid podTemplate, an admission policy) is bad
    configuration; what is wrong around it (missing permissions) may pass.
    """
    code = ExitCode.TEMPORARY if _may_pass(error) else ExitCode.BAD_CONFIGURATION
    message = f"the cluster refuses Job {action.name}: {error}"
    preparing = action.phase == "Prepare"
    pod = PodView(
        name=action.name,
        phase="Failed",
        exit_code=code,
        result=None
        if preparing
        else ResultRecord(exit_code=code, reason="Refused", message=message),
    )
    return JobView(
        name=action.name,
        stage=action.stage,
        attempt=action.attempt,
        phase=action.phase,
        # Nothing else will explain it: there is nothing to settle.
        created_at=LONG_AGO,
        finished=True,
        pods_wanted=action.stage_file.nodes if action.phase == "Train" else 1,
        pods=(pod,),
        prepare=PrepareRecord(exit_code=code, message=message) if preparing else None,
    )


def _may_pass(error: ClusterError) -> bool:
    text = str(error)
    return error.status == _FORBIDDEN and any(words in text for words in _PASSING)


def _of_an_earlier_start(pod: Object, started: str | None) -> bool:
    """Whether the Job was suspended since, which ended the pod. It says nothing of the attempt.
    (When a pod was made says little: the API server's clock, and whole seconds.)"""
    asked = asked_to_end(pod["metadata"])
    return asked is not None and started is not None and asked < parse_time(started)


def _message(name: str, status: Object, events: Collection[Object]) -> str:
    """What the Job says of itself; while it says nothing, why its pods can't be made."""
    failed = condition(status, "Failed") or condition(status, "FailureTarget")
    if failed is not None:
        return failed.get("message") or failed.get("reason") or ""
    return note_of(newest(events, ("FailedCreate",), of=name))


def _since(condition: Object | None) -> datetime | None:
    at = (condition or {}).get("lastTransitionTime")
    return parse_time(at) if at else None


def _name(pod: Object) -> str:
    name: str = pod["metadata"]["name"]
    return name
