"""What a Prometheus finds in a cluster: an operator with runs of every fate, two stages that train,
and a verifier that has work.

The operator is the real one against a real API server; who plays the kubelets lets one run train
(its rank 0 is a real process), one fail of a corrupt input, and one wait for room.
"""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import Object
from acereason_trainer.config.stage_file import PrepareRecord, ResultRecord
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.processes import die_with_parent
from fake_controllers import End, FakeStore, stage_file_of, text_of
from operator_process import Installation
from players import Player
from rendering_builders import run_body

from tests.chart.rendered_chart import one
from tests.controlplane.control_plane import ControlPlane
from tests.monitoring.prometheus import Target
from tests.python_path import python_path
from tests.stage_attempts import a_stage, begun, write_rows
from tests.verifier.services import ServiceProcess
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
TRAINS, CORRUPT, WAITS = "r7", "r8", "r9"
QUICK = (
    *("--settling", "100ms", "--first-backoff", "100ms"),
    *("--progress-seconds", "1", "--relist-seconds", "5"),
)
FOREVER = 1_000_000
ROWS = [
    {
        "problem": f"How much are {n} and {n} together?",
        "answer": str(2 * n),
        "response": f"{2 * n} " * 9,
    }
    for n in range(8)
]
PLAIN = {"prompting": {"template": "plain"}, "loading": {"dtype": "float32"}}
SFT = {
    "optimizer": {"learningRate": 1e-5},
    "budget": {"steps": FOREVER},
    "rowTokens": 256,
    "rowsPerStep": 1,
    **PLAIN,
}
RL = {
    "promptsPerStep": 3,
    "groupSize": {"fixed": 4},
    "temperature": {"targetEntropy": {"candidates": [1.0], "prompts": 1, "samples": 2}},
    "stop": {"steps": FOREVER},
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "validation": {"everySteps": 1, "samples": 2, "maxProblems": 2},
    "optimizer": {"learningRate": 1e-6},
    "maxResponseTokens": 12,
    "verifier": {"workers": 1},
    **PLAIN,
}


@dataclass(frozen=True)
class Scraped:
    """All of it, at work; runs are made once somebody looks, who could not see the past."""

    targets: list[Target]
    make_runs: Callable[[], None]


@contextmanager
def scraped(
    control_plane: ControlPlane, model: Path, chart: Sequence[Object], folder: Path
) -> Iterator[Scraped]:
    """All of it, until the end of the block. chart: whose PodMonitors say how it is scraped."""
    with ExitStack() as stack:
        installed = Installation.on(control_plane)
        ports = {"sft": free_port(), "math": free_port()}
        for (stage, port), settings in zip(ports.items(), (SFT, RL), strict=True):
            kind = "sft" if stage == "sft" else "mathRL"
            told = {**settings, "telemetry": {"metricsPort": port, "peakTflops": 1}}
            stack.enter_context(_rank(folder / stage, kind, told, model))
        verifier = stack.enter_context(_verifier())
        stack.enter_context(FateOfRuns(control_plane, installed.namespace))
        log = folder / "operator.log"
        operator = stack.enter_context(installed.an_operator(log, flags=QUICK))
        wait_for(operator.is_ready, "the operator to be ready", log.read_text)

        def make_runs() -> None:
            for name in (TRAINS, CORRUPT, WAITS):
                body = run_body(name, stages=_stages(ports["math"]))
                body["metadata"]["namespace"] = installed.namespace
                control_plane.request("POST", installed.runs, body)

        yield Scraped(
            [
                _of_component(chart, "operator", installed.home, operator.port),
                _of_component(chart, "verifier", installed.home, verifier.port),
                *(_of_stage(chart, s, installed.namespace, port) for s, port in ports.items()),
            ],
            make_runs,
        )


def _stages(metrics_port: int) -> list[dict[str, Any]]:
    """What the runs hold, as far as the operator cares."""
    of_prompts = {"data": {"stage": "prompts"}}
    return [
        {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "rows.jsonl"}}},
        {"name": "sft", "sft": {}, "inputs": of_prompts},
        {"name": "eval", "evaluate": {"sets": [{"name": "aime", "file": "aime.jsonl"}]},
         "inputs": of_prompts},
        {"name": "math", "mathRL": {"telemetry": {"metricsPort": metrics_port}},
         "inputs": of_prompts},
    ]  # fmt: skip


class FateOfRuns(Player):
    """Plays the kubelets, and what the containers do."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        super().__init__(control_plane, namespace)
        self.store = Containers()

    def _move(self, pod: Object) -> None:
        of = pod["metadata"]["labels"]
        trains = of[labels.STAGE] == "math" and of[labels.PHASE] == "train"
        if of[labels.RUN] == WAITS or (trains and pod["status"]["phase"] == "Running"):
            return
        super()._move(pod)


class Containers(FakeStore):
    """One attempt of SFT crashes; an input of a run is corrupt; an evaluation has a result."""

    def work(self, pod: Object) -> End:
        of = pod["metadata"]["labels"]
        stage, phase = of[labels.STAGE], of[labels.PHASE]
        if of[labels.RUN] == CORRUPT:
            return End(65, text_of(PrepareRecord(exit_code=65, message="rows.jsonl changed")))
        if (stage, phase, of[labels.ATTEMPT]) == ("sft", "train", "1"):
            return End(1, text_of(ResultRecord(exit_code=1, reason="Error", message="it raised")))
        if (stage, phase) == ("eval", "train"):
            made = self.train(stage_file_of(pod))
            return End(0, text_of(made.model_copy(update={"metrics": {"accuracy/aime": 0.5}})))
        return super().work(pod)


@contextmanager
def _rank(store: Path, kind: str, settings: dict[str, Any], model: Path) -> Iterator[None]:
    """A rank of its own, which trains until the end of the block."""
    data = write_rows(store / "rows.jsonl", ROWS)
    validation = {"validation": data} if kind == "mathRL" else {}
    context = begun(a_stage(store, {kind: settings}, model=model, data=data, **validation))
    with (store / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer", str(context.work_dir / "stage.yaml")],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": python_path(ROOT), "OMP_NUM_THREADS": "1"},
            preexec_fn=die_with_parent,  # noqa: PLW1509 it would train for ever
        )
    try:
        yield
        assert process.poll() is None, (store / "log").read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def _verifier() -> Iterator[ServiceProcess]:
    """A verifier that is asked for verdicts, now and then badly, until the end of the block."""
    service = ServiceProcess()
    service.start()
    enough = threading.Event()
    asking = threading.Thread(target=_ask, args=(service.url, enough))
    asking.start()
    try:
        yield service
    finally:
        enough.set()
        asking.join()
        service.kill()


def _ask(url: str, enough: threading.Event) -> None:
    program = {"source": "print(2)", "tests": "0" * 32}
    answer = {"answer": "\\frac{2}{4}", "reference": "0.5"}
    while not enough.wait(0.5):
        for kind, job in (("math", answer), ("code", program)):
            body = json.dumps({"kind": kind, "jobs": [{"id": "a", **job}]}).encode()
            try:
                with urllib.request.urlopen(f"{url}/v1/grade", body, timeout=30) as told:
                    told.read()
            except urllib.error.HTTPError as refused:
                assert refused.code == 404, "the tests are never uploaded"


def _of_component(chart: Sequence[Object], component: str, namespace: str, port: int) -> Target:
    monitor = one([*chart], "PodMonitor", f"-{component}")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    told = {
        "namespace": namespace,
        "pod": f"{component}-0",
        "container": component,
        "job": f"{namespace}/{monitor['metadata']['name']}",
    }
    return Target(port, told, honor_labels=endpoint.get("honorLabels", False))


def _of_stage(chart: Sequence[Object], stage: str, namespace: str, port: int) -> Target:
    monitor = one([*chart], "PodMonitor", "-stages")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    known = {"run": TRAINS, "stage": stage, "attempt": "1"}
    given = {relabeling["targetLabel"] for relabeling in endpoint["relabelings"]}
    told = {name: known[name] for name in given}
    pod = {"namespace": namespace, "pod": f"{TRAINS}-{stage}-0", "container": "stage"}
    return Target(port, pod | told)
