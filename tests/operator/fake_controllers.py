"""What a cluster does by itself over a FakeCluster, one step at a time: garbage collection, the Job
controller, a scheduler, kubelets.

A test decides what the containers do (`script`, asked for each running pod at each step) and what
befalls nodes and pods. The rest follows the real controllers where the operator can tell: pods are
tracked by a finalizer, a Job fails with its first failed pod and says Failed once all its pods have
ended, suspension deletes pods without counting them, a pod on a silent node stays.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import JOB, NODE, POD, Kind, Object
from acereason_trainer.config.sources import ArtifactRef, ResolvedSource
from acereason_trainer.config.stage_file import (
    OUTPUT_KIND,
    PreparedInputs,
    PrepareRecord,
    PublishedArtifact,
    ResultRecord,
    StageFile,
    settings_for_key,
)
from fake_cluster import FOREGROUND, KINDS, FakeCluster

TRACKED = "batch.kubernetes.io/job-tracking"
INDEX = labels.COMPLETION_INDEX
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class End:
    """How a pod's container ends."""

    code: int
    message: str = ""
    """Its termination message."""
    reason: str = ""
    """Default: Completed or Error."""


Script = Callable[[Object], End | None]
"""What a running pod does now: ends, or goes on (None)."""


@dataclass
class FakeStore:
    """Artifacts by key, and what prepare and a stage would do with them."""

    artifacts: dict[str, PublishedArtifact] = field(default_factory=dict)

    def work(self, pod: Object) -> End:
        """Every pod does its work at once: a script."""
        file = stage_file_of(pod)
        if pod["metadata"]["labels"][labels.PHASE] == "prepare":
            return End(0, text_of(self.prepare(file)))
        if index_of(pod) > 0:
            return End(0, text_of(ResultRecord(exit_code=0)))
        return End(0, text_of(self.train(file)))

    def prepare(self, file: StageFile) -> PrepareRecord:
        """Inputs exist and are good; the key follows from them and from the settings."""
        sources = {"model": file.inputs.model, "data": file.inputs.data}
        refs = {n: _imported(source) for n, source in sources.items() if source is not None}
        key = self.key(file, refs)
        inputs = PreparedInputs(model=refs.get("model"), data=refs.get("data"))
        return PrepareRecord(
            exit_code=0, key=key, inputs=inputs, reused=self.artifacts.get(key)
        )  # fmt: skip

    def train(self, file: StageFile) -> ResultRecord:
        """The stage publishes."""
        assert file.prepared is not None, "a train phase without what prepare found"
        key, kind = file.prepared.key, OUTPUT_KIND[file.settings.kind]
        made = PublishedArtifact(
            uri=f"artifacts/{key}", digest=f"sha256:{_hex(key)}", bytes=7, kind=kind
        )
        return ResultRecord(exit_code=0, step=10, artifact=self.artifacts.setdefault(key, made))

    @staticmethod
    def key(file: StageFile, refs: dict[str, ArtifactRef]) -> str:
        """A stage key: other settings or inputs, another key."""
        kind = file.settings.kind
        digests = {name: ref.digest for name, ref in refs.items()}
        of = [kind, file.seed, settings_for_key(file.settings.settings), digests]
        return f"{kind}-{_hex(json.dumps(of, sort_keys=True, default=str))[:32]}"


class Controllers:
    """See the module. Nodes are `node-0`, `node-1`, ..."""

    def __init__(self, cluster: FakeCluster, script: Script, nodes: int = 4) -> None:
        self.cluster = cluster
        self.script = script
        self.on_stop: Callable[[Object], End | None] = _stopped
        """What a container does on SIGTERM; None while it goes on."""
        self.schedulable: Callable[[Object], bool] = lambda pod: True
        """Whether there is room for a pod."""
        self.can_be_set_up: Callable[[Object], bool] = lambda pod: True
        """Whether a pod's volumes and network are there once it has a node."""
        self.takes_a_node: Callable[[Object], bool] = lambda pod: False
        """Whether a pod shares its node with no other such pod."""
        self.no_room = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
        """What the scheduler says where there is none."""
        self.pod_ip = "10.0.0.1"
        """Address of every pod; empty where nobody shall ask them anything."""
        self._names = 0
        for i in range(nodes):
            cluster.put(NODE, {"metadata": {"name": f"node-{i}"}})
            self.node_is(f"node-{i}", "True")

    def settle(self, limit: int = 100) -> None:
        """Steps until nothing changes."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"the cluster does not come to rest in {limit} steps")

    def step(self) -> bool:
        """Everybody looks once. Returns whether anything changed."""
        before = self.cluster.version
        self._collect_garbage()
        for job in self.cluster.all(JOB):
            self._sync_job(job)
        for pod in self.cluster.all(POD):
            self._untrack(pod)
        for pod in self.cluster.all(POD):
            self._schedule(pod)
        for pod in self.cluster.all(POD):
            self._run(pod)
        return self.cluster.version != before

    # What a test makes happen

    def node_is(self, name: str, ready: str) -> None:
        """A node's Ready condition becomes True, False or Unknown; unless True, it is silent."""

        def change(node: Object) -> None:
            node["status"] = {"conditions": [{"type": "Ready", "status": ready}]}

        self.cluster.edit(NODE, "", name, change)

    def disrupt(self, pod: Object, reason: str = "PreemptionByScheduler") -> None:
        """A pod is taken: marked, then deleted."""
        meta = pod["metadata"]

        def change(body: Object) -> None:
            _set_condition(body, "DisruptionTarget", reason, self._now())

        self.cluster.edit(POD, meta["namespace"], meta["name"], change)
        self.cluster.remove(POD, meta["namespace"], meta["name"])

    def end(self, pod: Object, end: End) -> None:
        """A pod's container ends now."""
        self._edit(POD, pod, lambda body: _terminate(body, end, self._now()))

    # Garbage collection

    def _collect_garbage(self) -> None:
        """Children of what is gone go; who waits for its children (foreground) goes after them."""
        everything = [(kind, body) for kind in KINDS for body in self.cluster.all(kind)]
        waiting = {
            body["metadata"]["uid"]: (kind, body)
            for kind, body in everything
            if FOREGROUND in body["metadata"].get("finalizers", [])
        }
        living = {body["metadata"]["uid"] for _, body in everything} - set(waiting)
        parents = set()
        for kind, body in everything:
            owners = {owner["uid"] for owner in body["metadata"].get("ownerReferences", [])}
            parents |= owners
            if owners and not owners & living:
                self._remove(kind, body)
        for uid, (kind, body) in waiting.items():
            if uid not in parents:
                self._without_finalizer(kind, body, FOREGROUND)

    # The Job controller

    def _sync_job(self, job: Object) -> None:
        if "deletionTimestamp" in job["metadata"] or _is(job, "Complete") or _is(job, "Failed"):
            return
        pods = self._pods_of(job)
        if job["spec"].get("suspend"):
            self._suspend(job, pods)
            return
        counted = [p for p in pods if not _left_behind(p)]
        failed = [p for p in counted if p["status"]["phase"] == "Failed"]
        fatal = _policy_message(job, pods)
        if fatal or failed or _is(job, "FailureTarget"):
            self._fail(job, counted, fatal)
            return
        self._edit(JOB, job, lambda body: _started(body, self._now()))
        done = {index_of(p) for p in counted if p["status"]["phase"] == "Succeeded"}
        if len(done) == job["spec"]["completions"]:
            self._edit(
                JOB, job, lambda body: _set_condition(body, "Complete", "Completed", self._now())
            )
            return
        for index in sorted(
            set(range(job["spec"]["completions"])) - {index_of(p) for p in counted}
        ):
            self._make_pod(job, index)

    def _suspend(self, job: Object, pods: list[Object]) -> None:
        def change(body: Object) -> None:
            status = body.setdefault("status", {})
            status.pop("startTime", None)
            _set_condition(body, "Suspended", "JobSuspended", self._now())

        self._edit(JOB, job, change)
        for pod in pods:
            if pod["status"]["phase"] not in ENDED and TRACKED in pod["metadata"]["finalizers"]:
                self._without_finalizer(POD, pod, TRACKED)
                self._remove(POD, pod)

    def _fail(self, job: Object, pods: list[Object], fatal: str) -> None:
        reason = "PodFailurePolicy" if fatal else "BackoffLimitExceeded"
        message = fatal or "Job has reached the specified backoff limit"
        if not _is(job, "FailureTarget"):

            def target(body: Object) -> None:
                _set_condition(body, "FailureTarget", reason, self._now(), message)

            self._edit(JOB, job, target)
            return
        running = [p for p in pods if p["status"]["phase"] not in ENDED]
        for pod in running:
            if "deletionTimestamp" not in pod["metadata"]:
                self._remove(POD, pod)
        if not running:
            told = next(c for c in job["status"]["conditions"] if c["type"] == "FailureTarget")

            def failed(body: Object) -> None:
                _set_condition(body, "Failed", told["reason"], self._now(), told["message"])

            self._edit(JOB, job, failed)

    def _make_pod(self, job: Object, index: int) -> None:
        meta, template = job["metadata"], deepcopy(job["spec"]["template"])
        self._names += 1
        body = {
            "metadata": {
                **template["metadata"],
                "name": f"{meta['name']}-{index}-{self._names:05x}",
                "namespace": meta["namespace"],
                "finalizers": [TRACKED],
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": meta["name"],
                        "uid": meta["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": template["spec"],
        }
        body["metadata"]["labels"] |= {INDEX: str(index), labels.JOB_NAME: meta["name"]}
        self.cluster.put(POD, body)

    def _untrack(self, pod: Object) -> None:
        """A pod that has ended is counted; one without its Job no longer matters."""
        if TRACKED not in pod["metadata"].get("finalizers", []):
            return
        owner = pod["metadata"]["ownerReferences"][0]["uid"]
        job = next((j for j in self.cluster.all(JOB) if j["metadata"]["uid"] == owner), None)
        if job is None or "deletionTimestamp" in job["metadata"] or pod["status"]["phase"] in ENDED:
            self._without_finalizer(POD, pod, TRACKED)

    def _pods_of(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        return [
            p for p in self.cluster.all(POD) if p["metadata"]["ownerReferences"][0]["uid"] == uid
        ]

    # The scheduler and the kubelets

    def _schedule(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            return
        job = pod["metadata"]["labels"][labels.JOB_NAME]
        alone = self.takes_a_node(pod)
        taken = {
            p["spec"].get("nodeName")
            for p in self.cluster.all(POD)
            if p["metadata"]["labels"][labels.JOB_NAME] == job
            or (alone and self.takes_a_node(p) and p["status"]["phase"] not in ENDED)
        }
        free = [n["metadata"]["name"] for n in self.cluster.all(NODE) if _is(n, "Ready")]
        free = [name for name in free if name not in taken]

        def change(body: Object) -> None:
            if free and self.schedulable(pod):
                body["spec"]["nodeName"] = free[0]
                _set_condition(body, "PodScheduled", "", self._now())
            else:
                told = self.no_room
                _set_condition(body, "PodScheduled", "Unschedulable", self._now(), told, "False")

        self._edit(POD, pod, change)

    def _run(self, pod: Object) -> None:
        node = pod["spec"].get("nodeName")
        phase, deleted = pod["status"]["phase"], "deletionTimestamp" in pod["metadata"]
        if phase in ENDED and not deleted:
            return
        if not node and deleted and phase not in ENDED:
            # No kubelet will; the pod garbage collector does.
            self._edit(POD, pod, lambda body: body["status"].update(phase="Failed"))
            return
        if not node or not any(
            n["metadata"]["name"] == node and _is(n, "Ready") for n in self.cluster.all(NODE)
        ):
            return
        if phase in ENDED:
            self._remove(POD, pod, grace=0)
        elif deleted:
            ended = self.on_stop(pod) if phase == "Running" else End(137)
            if ended is not None:
                self.end(pod, ended)
        elif phase == "Pending" and not self.can_be_set_up(pod):
            self._edit(POD, pod, _creating)
        elif phase == "Pending":
            self._edit(POD, pod, lambda body: _start(body, self.pod_ip, self._now()))
        elif (end := self.script(pod)) is not None:
            self.end(pod, end)

    # Small change

    def _edit(self, kind: Kind, body: Object, change: Callable[[Object], None]) -> None:
        meta = body["metadata"]
        self.cluster.edit(kind, meta.get("namespace", ""), meta["name"], change)

    def _remove(self, kind: Kind, body: Object, grace: int | None = None) -> None:
        meta = body["metadata"]
        if "deletionTimestamp" not in meta or grace is not None:
            self.cluster.remove(kind, meta.get("namespace", ""), meta["name"], grace=grace)

    def _without_finalizer(self, kind: Kind, body: Object, name: str) -> None:
        def change(new: Object) -> None:
            new["metadata"]["finalizers"] = [f for f in new["metadata"]["finalizers"] if f != name]

        self._edit(kind, body, change)

    def _now(self) -> str:
        return self.cluster.clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def stage_file_of(pod: Object) -> StageFile:
    """What a pod is told, as its container reads it."""
    return StageFile.parse_json(pod["metadata"]["annotations"][labels.STAGE_FILE])


def text_of(record: PrepareRecord | ResultRecord) -> str:
    """A record as a termination message."""
    return json.dumps(record.dump())


def index_of(pod: Object) -> int:
    """Completion index of a pod."""
    return int(pod["metadata"]["labels"][INDEX])


def _stopped(pod: Object) -> End:
    if pod["metadata"]["labels"][labels.PHASE] == "prepare":
        return End(143)
    return End(143, text_of(ResultRecord(exit_code=143, reason="Stopped", message="stopped")))


def _imported(source: ResolvedSource) -> ArtifactRef:
    if source.artifact:
        return source.artifact
    name = _hex(json.dumps(source.dump(), sort_keys=True))
    return ArtifactRef(uri=f"artifacts/data-{name[:32]}", digest=f"sha256:{name}")


def _hex(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _left_behind(pod: Object) -> bool:
    """Deleted by a suspension: no longer tracked, not counted."""
    meta = pod["metadata"]
    return "deletionTimestamp" in meta and TRACKED not in meta.get("finalizers", [])


def _policy_message(job: Object, pods: list[Object]) -> str:
    """The sentence of the first rule of the pod failure policy that a failed pod meets."""
    rules = job["spec"].get("podFailurePolicy", {}).get("rules", [])
    for pod in pods:
        if pod["status"]["phase"] != "Failed":
            continue
        for i, rule in enumerate(rules):
            code = _exit_code(pod, rule.get("onExitCodes", {}).get("containerName"))
            if code in rule.get("onExitCodes", {}).get("values", []):
                name = pod["metadata"]["name"]
                return f"Pod {name} failed with exit code {code} matching FailJob rule at index {i}"
            if any(_is(pod, pattern["type"]) for pattern in rule.get("onPodConditions", [])):
                return f"Pod {pod['metadata']['name']} has condition matching rule at index {i}"
    return ""


def _exit_code(pod: Object, container: str | None) -> int | None:
    for status in pod["status"].get("containerStatuses", []):
        if status["name"] == container:
            code: int | None = status["state"].get("terminated", {}).get("exitCode")
            return code
    return None


def _creating(pod: Object) -> None:
    names = [c["name"] for c in pod["spec"]["containers"]]
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    pod["status"]["containerStatuses"] = [{"name": name, "state": waiting} for name in names]


def _start(pod: Object, ip: str, now: str) -> None:
    names = [c["name"] for c in pod["spec"]["containers"]]
    pod["status"] |= {
        "phase": "Running",
        "startTime": now,
        "podIP": ip,
        "containerStatuses": [
            {"name": name, "state": {"running": {"startedAt": now}}} for name in names
        ],
    }


def _terminate(pod: Object, end: End, now: str) -> None:
    reason = end.reason or ("Error" if end.code else "Completed")
    ended: dict[str, Any] = {"exitCode": end.code, "reason": reason, "finishedAt": now}
    if end.message:
        ended["message"] = end.message
    names = [c["name"] for c in pod["spec"]["containers"]]
    pod["status"] |= {
        "phase": "Failed" if end.code else "Succeeded",
        "containerStatuses": [{"name": name, "state": {"terminated": ended}} for name in names],
    }


def _started(job: Object, now: str) -> None:
    status = job.setdefault("status", {})
    if "startTime" not in status:
        status["startTime"] = now
        status["conditions"] = [c for c in status.get("conditions", []) if c["type"] != "Suspended"]


def _is(body: Object, kind: str) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def _set_condition(
    body: Object, kind: str, reason: str, now: str, message: str = "", value: str = "True"
) -> None:
    """Set a condition, unless it says that already."""
    conditions: list[Object] = body.setdefault("status", {}).setdefault("conditions", [])
    old = next((c for c in conditions if c["type"] == kind), None)
    new = {"type": kind, "status": value, "reason": reason, "message": message}
    if old is not None and all(old[name] == new[name] for name in new):
        return
    others = [c for c in conditions if c["type"] != kind]
    body["status"]["conditions"] = [*others, {**new, "lastTransitionTime": now}]
