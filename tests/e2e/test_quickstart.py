"""The quickstart on a cluster: what `make quickstart` does on a laptop, through kubectl apply.

It takes 4 minutes, shortened (short.yaml); `--whole` runs all of it, in at most 14.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.yaml_loader import Document

from tests.e2e.installation import CLAIM, EXAMPLES, Installation
from tests.e2e.outcome import EXPECTED, SHORT, Outcome, differences, outcome
from tests.e2e.pod_discovery import PodDiscovery
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NAME = "quickstart"
PATIENCE = 1200.0
GOAL_SECONDS = 14 * 60
"""From `helm install` to a Complete whole quickstart, on two cores."""
SHORT_SECONDS = 8 * 60
"""From `kubectl apply` to the shortened one's end: twice what two quiet cores need."""
WATCHED = {
    "acereason_runs": "runs by state, of the operator",
    'acereason_run_stage_state{state="Running"} == 1': "states of the run's stages",
    'acereason_stage_reward{run="quickstart"}': "a stage's own series, of its rank 0",
    "acereason_verifier_verdicts_total": "what the verifier judged",
    "acereason_leader == 1": "one of two replicas leads",
}
"""Expressions that must have an answer at some time of a run, and what they show."""


@dataclass
class Seen:
    """What people and Prometheus saw of the run while it went on, and how it ended."""

    seconds: float = 0.0
    """From `kubectl apply` to Complete."""
    since_install: float = 0.0
    """From the beginning of `helm install` to Complete."""
    status: Mapping[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    """What `kubectl logs` printed of a stage that trained, by stage."""
    columns: set[str] = field(default_factory=set)
    """Lines of `kubectl get arr`."""
    answered: dict[str, Any] = field(default_factory=dict)
    """The first answer to each of WATCHED."""


@pytest.fixture(scope="module")
def seen(
    installation: Installation, whole: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """The run, from its file to its end. 4 minutes; 10 with --whole."""
    folder = tmp_path_factory.mktemp("prometheus")
    discovery = PodDiscovery(folder, installation.monitored_chart())
    applied = time.monotonic()
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(run_file(installation, whole)))
    found = Seen()
    with prometheus(folder, discovery.scrape_configs(), discovery.chart) as server:
        wait_for(
            lambda: look(installation, discovery, server, found),
            "the quickstart is complete",
            lambda: installation.kubectl("describe", "arr", NAME)[-4000:],
            PATIENCE,
            every=3,  # a look takes two cores for a moment, and the run needs them
        )
    found.seconds = time.monotonic() - applied
    found.since_install = time.monotonic() - installation.began
    yield found


def run_file(installation: Installation, whole: bool) -> Any:
    """examples/quickstart.yaml for a claim, by the command that it names."""
    patch = {"spec": {"storage": {"directory": None, "claim": CLAIM}}}
    file = str(EXAMPLES / "quickstart.yaml")
    words = ("patch", "--local", "-f", file, "-o", "json", "--type", "merge", "-p")
    document = Document("quickstart", json.loads(installation.kubectl(*words, json.dumps(patch))))
    if whole:
        return document.data
    shortened = apply_overrides(document, [], [SHORT])
    assert not shortened.problems
    return shortened.data


def look(
    installation: Installation, discovery: PodDiscovery, server: Prometheus, found: Seen
) -> bool:
    """Note what there is to see now; whether the run is complete."""
    everything = ("get", "pods", "--all-namespaces", "-o", "json")
    discovery.look(json.loads(installation.cluster.kubectl(*everything))["items"])
    found.status = installation.get("arr", NAME).get("status", {})
    found.columns.add(installation.kubectl("get", "arr", NAME))
    for stage in found.status.get("stages", ()):
        if stage["state"] == "Running" and stage.get("step") and stage["name"] not in found.logs:
            label = f"acereason.dev/run={NAME},acereason.dev/stage={stage['name']}"
            words = ("logs", "-l", f"{label},acereason.dev/phase=train", "--tail=-1")
            found.logs[stage["name"]] = installation.kubectl(*words)
    for expression in WATCHED.keys() - found.answered.keys():
        if answer := server.numbers(expression):
            found.answered[expression] = answer
    conditions = {c["type"]: c["status"] for c in found.status.get("conditions", ())}
    assert conditions.get("Failed") != "True", found.status
    return conditions.get("Complete") == "True"


def test_every_stage_completes_at_its_first_attempt(seen: Seen) -> None:
    stages = seen.status["stages"]
    assert len(stages) == 13
    assert {(s["state"], s["attempts"]) for s in stages} == {("Complete", 1)}


def test_the_table_is_that_of_acereason_run(
    seen: Seen, installation: Installation, whole: bool
) -> None:
    here = outcome(seen.status, installation.store)
    there = of_the_benchmark() if whole else json.loads(EXPECTED.read_text(encoding="utf-8"))
    if not whole:
        other = "settings or code have changed: python -m tests.e2e.outcome runs it on this machine"
        assert {n: s["key"] for n, s in here.items()} == {n: s["key"] for n, s in there.items()}, (
            other
        )
    compared = differences(here, there)
    assert len(compared) == 10, "two tasks after SFT and each RL stage"
    for task in ("math", "code"):
        ours = [d for d in compared if d.task == task]
        error = math.sqrt(sum(d.error**2 for d in ours)) / len(ours)
        apart = sum(d.here - d.there for d in ours) / len(ours)
        assert abs(apart) <= 2 * error, f"{task}: the table is {apart:+.3f} ± {error:.3f} off"
    # Ten figures, so that two standard errors of each would be too few by chance.
    assert not [d for d in compared if d.in_errors > 3]


def of_the_benchmark() -> Outcome:
    """Accuracy of the whole quickstart's first seed, as committed by `make bench-quickstart`."""
    result = json.loads((EXAMPLES.parent / "benchmarks/results/quickstart.json").read_text())
    stages = {"SFT": "sft", "math 1": "math-1", "math 2": "math-2", "code": "code"}
    stages["math 3"] = "math-3"
    return {
        f"{stages[told]}-eval": {
            "sets": {
                task: {
                    **figure,
                    "accuracy": figure["accuracy"] / 100,
                    "standardError": figure["standardError"] / 100,
                }
                for task, figure in sets.items()
            }
        }
        for told, sets in result["seeds"][0]["rl"]["accuracy"].items()
    }


def test_it_is_complete_in_time(seen: Seen, whole: bool) -> None:
    print(f"kubectl apply to Complete: {seen.seconds:.0f} s")
    if whole:
        print(f"helm install to Complete: {seen.since_install:.0f} s")
        assert seen.since_install < GOAL_SECONDS
    else:
        assert seen.seconds < SHORT_SECONDS


@pytest.mark.parametrize("expression", WATCHED)
def test_prometheus_sees_it(seen: Seen, expression: str) -> None:
    assert expression in seen.answered, WATCHED[expression]


def test_logs_of_a_stage_say_how_far_it_is(seen: Seen) -> None:
    assert "math-1" in seen.logs
    assert "steps" in seen.logs["math-1"], seen.logs["math-1"]


def test_kubectl_get_shows_state_stage_and_progress(seen: Seen) -> None:
    lines = [text.splitlines()[1].split() for text in seen.columns if len(text.splitlines()) > 1]
    assert all(words[0] == NAME for words in lines)
    assert {"Running", "Complete"} <= {words[1] for words in lines}
    assert [words for words in lines if "math-1" in words]
    assert [words for words in lines if re.search(r" \d+/13 \(\d+/\d+\) ", " ".join(words))]


def test_describe_tells_how_each_stage_ended(seen: Seen, installation: Installation) -> None:
    _, _, events = installation.kubectl("describe", "arr", NAME).partition("\nEvents:")
    for stage in seen.status["stages"]:
        assert re.search(rf"stage {stage['name']}: ", events), f"{stage['name']} in {events}"


def test_no_pod_was_given_a_token_or_a_secret(installation: Installation, seen: Seen) -> None:
    label = f"acereason.dev/run={NAME},acereason.dev/phase=train"
    pods = installation.get("pods", "-l", label)["items"]
    assert len(pods) == len(seen.status["stages"])
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        volumes = {next(iter(volume.keys() - {"name"})) for volume in pod["spec"]["volumes"]}
        assert volumes <= {"persistentVolumeClaim", "downwardAPI", "emptyDir"}


def test_the_store_holds_what_status_says(seen: Seen, installation: Installation) -> None:
    store: Path = installation.store
    for stage in seen.status["stages"]:
        manifest = json.loads((store / stage["artifact"]["uri"] / "manifest.json").read_text())
        assert manifest["digest"] == stage["artifact"]["digest"]
