"""A run on the cluster that a test disturbs, and what the disturbance cost it."""

import json
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from acereason_operator.cluster.labels import COMPLETION_INDEX
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore
from acereason_trainer.config.sources import ArtifactRef

from tests.cluster.process import is_known_to_hold
from tests.e2e.installation import CLAIM, Installation, processes
from tests.waiting import held, wait_for

RUN_FILE = Path(__file__).with_name("two_stages.yaml")
RUNS = "/apis/acereason.dev/v1alpha1/namespaces/{}/acereasonruns"
PATIENCE = 900.0
"""Seconds for what takes some 10 on an idle machine, or 100 with a node that is lost."""
STAGES = ("first", "second")
EVERY = 0.25
"""Seconds between two looks: the run needs the cores."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    pods: int
    """Of each of its stages."""
    seconds: float
    """From its creation to its end."""
    seconds_trained: float
    """In which its steps were made, each counted once."""
    seconds_imposed: float
    """In which the fault lasted, whoever serves the run, and nothing was trained."""
    attempts: dict[str, int]
    """By stage."""
    user_retries: int
    infrastructure_retries: int
    steps_repeated: int
    """Optimizer steps that were done more than once."""

    def dump(self) -> Object:
        """As JSON has it."""
        return {
            "pods": self.pods,
            "seconds": self.seconds,
            "secondsTrained": round(self.seconds_trained, 1),
            "secondsImposed": round(self.seconds_imposed, 1),
            "attempts": self.attempts,
            "userRetries": self.user_retries,
            "infrastructureRetries": self.infrastructure_retries,
            "stepsRepeated": self.steps_repeated,
        }


@dataclass
class Trial:
    """One run of two stages, `first` and `second`."""

    there: Installation
    name: str
    seed: int
    claim: str = CLAIM
    """Of its volume."""
    nodes: int = 1
    """Pods of each stage, on as many nodes."""

    def apply(
        self,
        stages: int = 2,
        steps: Mapping[str, int] | None = None,
        suspended: Collection[str] = (),
        grace: str | None = None,
        env: Sequence[Object] = (),
    ) -> None:
        """Create the run with its first stages, or change it.

        steps: of stages by name, where other than the file's. suspended: stages that do not begin.
        grace: their grace period, where other than the file's. env: of each stage, as in a pod.
        """
        body = yaml.safe_load(RUN_FILE.read_text())
        body["metadata"] = {"name": self.name, "namespace": self.there.namespace}
        body["spec"] |= {"seed": self.seed, "storage": {"claim": self.claim}}
        body["spec"]["defaults"] |= {"nodes": self.nodes, "env": list(env)}
        body["spec"]["stages"] = body["spec"]["stages"][:stages]
        if grace is not None:
            body["spec"]["defaults"]["gracePeriod"] = grace
        for stage in body["spec"]["stages"]:
            stage["suspend"] = stage["name"] in suspended
            if number := (steps or {}).get(stage["name"]):
                stage["sft"] = {**stage["sft"], "budget": {"steps": number}}
        self.there.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def patch(self, spec: Object) -> None:
        """Edit its spec."""
        self.there.kubectl(
            "patch", "arr", self.name, "--type=merge", "-p", json.dumps({"spec": spec})
        )

    def status(self) -> Object:
        """Its status; empty before the operator has seen it."""
        found: Object = self._body().get("status", {})
        return found

    def stage(self, name: str) -> Object:
        """Status of a stage; empty before there is one."""
        return next((s for s in self.status().get("stages", ()) if s["name"] == name), {})

    def wait(self, what: str, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Until something holds of it, as far as a busy API server says; a run that fails meanwhile
        fails the test with its words."""

        def so() -> bool:
            if holds():
                return True
            assert not self._is("Failed"), self.told()
            return False

        wait_for(lambda: is_known_to_hold(so), f"{self.name}: {what}", self.told, patience, EVERY)

    def wait_for_step(self, stage: str, step: int = 1) -> None:
        """Until a stage trains and has a state of some step that it could go on from."""
        self.wait(f"{stage} has saved step {step}", lambda: self.saved(stage) >= step)

    def saved(self, stage: str) -> int:
        """The newest step of which a state was saved; 0 where there is none."""
        states = self.work(stage).glob("*/states/*/manifest.json")
        return max((int(json.loads(s.read_text())["step"]) for s in states), default=0)

    def seconds_trained(self) -> float:
        """Seconds in which its steps were made so far, each step counted once."""
        took = {(s, r["step"]): r["step_seconds"] for s in STAGES for r in self._rows(s)}
        return float(sum(took.values()))

    def made(self, stage: str) -> int:
        """The newest step that a stage has made, also while nobody can be asked."""
        return max((int(row["step"]) for row in self._rows(stage)), default=0)

    def complete(self, imposed: float = 0.0, patience: float = PATIENCE) -> Cost:
        """Wait for its end, which must be a good one with all artifacts whole, and count what it
        took. Which attempts ended badly and why is printed: pytest shows it of a test that fails.

        imposed: seconds in which what was done to it lasted and nothing was trained. patience: of
        the wait, in seconds.
        """
        self.wait("Complete", lambda: self._is("Complete"), patience)
        status = self.status()
        stages = {s["name"]: s for s in status["stages"]}
        assert {s["state"] for s in stages.values()} == {"Complete"}, self.told()
        self.verify()
        print(*self.failures_told(), sep="\n")
        begun = self._body()["metadata"]["creationTimestamp"]
        return Cost(
            pods=self.nodes,
            seconds=_time(status["finishedAt"]) - _time(begun),
            seconds_trained=self.seconds_trained(),
            seconds_imposed=imposed,
            attempts={name: s["attempts"] for name, s in stages.items()},
            user_retries=sum(s["spent"]["user"] for s in stages.values()),
            infrastructure_retries=sum(s["spent"]["infrastructure"] for s in stages.values()),
            steps_repeated=sum(self._repeated(name) for name in stages),
        )

    def verify(self) -> None:
        """Hash every byte of all that was ever published on its volume, by this run and by others;
        raises Corrupt or NotFound. What its stages came to must have the digests that it says, and
        what was there when any run of this volume was looked at must be there still."""
        store = DirectoryStore(self._volume)
        names = set(store.names())
        seen = self.there.published.setdefault((self.there.namespace, self.claim), set())
        assert seen <= names, f"lost: {sorted(seen - names)}"
        seen |= names
        for name in names:
            store.hashed(f"{ARTIFACTS}/{name}")
        for stage in self.status()["stages"]:
            made = stage["artifact"]
            store.verify(ArtifactRef(uri=made["uri"], digest=made["digest"]))

    def told(self) -> str:
        """What a person would look at."""
        return self.there.kubectl("describe", "arr", self.name)[-3000:]

    def failures_told(self) -> list[str]:
        """Lines of `kubectl describe` on attempts that ended badly."""
        _, _, events = self.there.kubectl("describe", "arr", self.name).partition("\nEvents:")
        return [line for line in events.splitlines() if "AttemptFailed" in line]

    def work(self, stage: str) -> Path:
        """Folder of a stage's attempts, from outside of the cluster."""
        return self._volume / "work" / self.name / stage

    def pods(self, stage: str) -> list[Object]:
        """The pods in which the newest attempt of a stage trains, by their index."""
        wanted = {"run": self.name, "stage": stage, "phase": "train"}
        wanted["attempt"] = str(self.stage(stage)["attempts"])
        label = ",".join(f"acereason.dev/{name}={value}" for name, value in wanted.items())
        path = f"/api/v1/namespaces/{self.there.namespace}/pods?labelSelector={quote(label)}"
        found: list[Object] = self._request("GET", path)["items"]
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"][COMPLETION_INDEX]))

    def pod(self, stage: str) -> Object:
        """The first of them."""
        return self.pods(stage)[0]

    def kill(self, pod: Object) -> None:
        """Delete a pod without a word to what runs in it."""
        path = f"/api/v1/namespaces/{self.there.namespace}/pods/{pod['metadata']['name']}"
        self._request("DELETE", path, {"gracePeriodSeconds": 0})

    @contextmanager
    def standing_still(self, pod: Object) -> Iterator[None]:
        """A block in which what trains in a pod stands still, so that no machine is too quick for
        what is done to it meanwhile."""
        ranks = self.ranks(pod)
        assert ranks, f"nothing trains in {pod['metadata']['name']} any more"
        with held(ranks):
            yield

    def wait_until_told_to_stop(self, pod: Object) -> None:
        """Until SIGTERM waits for what stands still in a pod."""
        ranks = self.ranks(pod)
        self.wait("its launcher tells it to stop", lambda: any(map(_is_told_to_stop, ranks)))

    def grace_ends(self, pod: Object) -> float:
        """When the grace period of a pod is over, in seconds since 1970; waits until Kubernetes has
        asked it to end."""
        path = f"/api/v1/namespaces/{self.there.namespace}/pods/{pod['metadata']['name']}"
        asked: Object = {}

        def is_asked() -> bool:
            asked.update(self._request("GET", path)["metadata"])
            return "deletionTimestamp" in asked

        self.wait("Kubernetes gives its pod up", is_asked)
        return _time(asked["deletionTimestamp"])

    @staticmethod
    def ranks(pod: Object) -> list[int]:
        """The processes that train in a pod, by their number on this machine."""
        return processes(pod, "acereason_trainer")

    @cached_property
    def _volume(self) -> Path:
        """Known before the API server is away."""
        return self.there.cluster.volume_folder(self.there.namespace, self.claim)

    def _body(self) -> Object:
        path = f"{RUNS.format(self.there.namespace)}/{self.name}"
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: Object | None = None) -> Object:
        """Without the second or more that a kubectl takes, in which a stage may come to its end."""
        said: Object = self.there.cluster.control_plane.request(method, path, body, timeout=120)
        return said

    def _is(self, condition: str) -> bool:
        found = self.status().get("conditions", ())
        return any(c["type"] == condition and c["status"] == "True" for c in found)

    def _repeated(self, stage: str) -> int:
        # An attempt that goes on begins with the rows of the state that it goes on from.
        rows = self._rows(stage)
        return len(rows) - len({row["step"] for row in rows})

    def _rows(self, stage: str) -> list[Object]:
        """What was noted of its steps, each once; a line that is being written is left out."""
        files = sorted(self.work(stage).glob("*/metrics.jsonl"))
        lines = [line for file in files for line in file.read_text().splitlines(keepends=True)]
        return [json.loads(line) for line in dict.fromkeys(lines) if line.endswith("\n")]


def _is_told_to_stop(process: int) -> bool:
    told = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    (pending,) = [int(line.split()[1], 16) for line in told if line.startswith("ShdPnd:")]
    return bool(pending & (1 << (signal.SIGTERM - 1)))


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
