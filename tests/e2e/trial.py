"""A run on the cluster that a test disturbs, and what the disturbance cost it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from acereason_operator.cluster.labels import COMPLETION_INDEX

from tests.e2e.installation import CLAIM, Installation
from tests.waiting import wait_for

RUN_FILE = Path(__file__).with_name("two_stages.yaml")
RUNS = "/apis/acereason.dev/v1alpha1/namespaces/{}/acereasonruns"
PATIENCE = 300.0
"""Seconds for what takes some 10 on an idle machine, or 100 with a node that is lost."""
EVERY = 0.25
"""Seconds between two looks: the run needs the cores."""
Object = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    seconds: float
    """From its creation to its end."""
    attempts: dict[str, int]
    """By stage."""
    user_retries: int
    infrastructure_retries: int
    steps_repeated: int
    """Optimizer steps that were done more than once."""

    def dump(self) -> Object:
        """As JSON has it."""
        return {
            "seconds": self.seconds,
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

    def apply(
        self,
        stages: int = 2,
        steps: int | None = None,
        nodes: int = 1,
        env: Sequence[Object] = (),
    ) -> None:
        """Create the run with its first stages, or give it the rest of them.

        steps: of each stage, where other than the file's. nodes: pods of each stage. env: of each
        stage, as in a pod.
        """
        body = yaml.safe_load(RUN_FILE.read_text())
        body["metadata"] = {"name": self.name, "namespace": self.there.namespace}
        body["spec"] |= {"seed": self.seed, "storage": {"claim": self.claim}}
        body["spec"]["defaults"] |= {"nodes": nodes, "env": list(env)}
        body["spec"]["stages"] = body["spec"]["stages"][:stages]
        if steps is not None:
            for stage in body["spec"]["stages"]:
                stage["sft"] = {**stage["sft"], "budget": {"steps": steps}}
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

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Until something holds of it; a run that fails meanwhile fails the test with its words."""

        def so() -> bool:
            if holds():
                return True
            assert not self._is("Failed"), self.told()
            return False

        wait_for(so, f"{self.name}: {what}", self.told, PATIENCE, EVERY)

    def wait_for_step(self, stage: str, step: int = 1) -> None:
        """Until a stage trains and has a state of some step that it could go on from."""
        self.wait(f"{stage} has saved step {step}", lambda: self.saved(stage) >= step)

    def saved(self, stage: str) -> int:
        """The newest step of which a state was saved; 0 where there is none."""
        states = self.work(stage).glob("*/states/*/manifest.json")
        return max((int(json.loads(s.read_text())["step"]) for s in states), default=0)

    def complete(self) -> Cost:
        """Wait for its end, which must be a good one, and count what it took."""
        self.wait("Complete", lambda: self._is("Complete"))
        status = self.status()
        stages = {s["name"]: s for s in status["stages"]}
        assert {s["state"] for s in stages.values()} == {"Complete"}, self.told()
        begun = self._body()["metadata"]["creationTimestamp"]
        return Cost(
            seconds=_time(status["finishedAt"]) - _time(begun),
            attempts={name: s["attempts"] for name, s in stages.items()},
            user_retries=sum(s["spent"]["user"] for s in stages.values()),
            infrastructure_retries=sum(s["spent"]["infrastructure"] for s in stages.values()),
            steps_repeated=sum(self._repeated(name) for name in stages),
        )

    def told(self) -> str:
        """What a person would look at."""
        return self.there.kubectl("describe", "arr", self.name)[-3000:]

    def work(self, stage: str) -> Path:
        """Folder of a stage's attempts, from outside of the cluster."""
        return self._volume / "work" / self.name / stage

    def pods(self, stage: str) -> list[Object]:
        """The pods in which the newest attempt of a stage trains, by their index."""
        wanted = {"run": self.name, "stage": stage, "phase": "train"}
        wanted["attempt"] = str(self.stage(stage)["attempts"])
        label = ",".join(f"acereason.dev/{name}={value}" for name, value in wanted.items())
        found: list[Object] = self.there.get("pods", "-l", label)["items"]
        return sorted(found, key=lambda pod: int(pod["metadata"]["labels"][COMPLETION_INDEX]))

    def pod(self, stage: str) -> Object:
        """The first of them."""
        return self.pods(stage)[0]

    @cached_property
    def _volume(self) -> Path:
        """Known before the API server is away."""
        return self.there.cluster.volume_folder(self.there.namespace, self.claim)

    def _body(self) -> Object:
        """The run as the API server has it, without the half second that a kubectl takes."""
        path = f"{RUNS.format(self.there.namespace)}/{self.name}"
        found: Object = self.there.cluster.control_plane.request("GET", path)
        return found

    def _is(self, condition: str) -> bool:
        found = self.status().get("conditions", ())
        return any(c["type"] == condition and c["status"] == "True" for c in found)

    def _repeated(self, stage: str) -> int:
        # An attempt that goes on begins with the rows of the state that it goes on from.
        rows = {
            row
            for file in self.work(stage).glob("*/metrics.jsonl")
            for row in file.read_text().splitlines()
        }
        return len(rows) - len({json.loads(row)["step"] for row in rows})


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
