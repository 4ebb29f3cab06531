"""The quickstart on a cluster: what `make quickstart` does on a laptop, through kubectl apply.

It takes 4 minutes, shortened (short.yaml); `--whole` runs all of it, in at most 14. The first time,
`acereason run` makes what it is compared with, on the same machine (outcome.py).
"""

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.costs import Costs
from tests.e2e.installation import CLAIM, EXAMPLES, Installation
from tests.e2e.outcome import differences, document, expected, outcome
from tests.monitoring.expressions import (
    ALERTS,
    PANELS,
    asked_by_alerts,
    health,
    offered_by_choices,
    shown_by_panels,
    wait_until_answered,
)
from tests.monitoring.prometheus import Prometheus
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

NAME = "quickstart"
PATIENCE = 3600.0
"""Seconds for what takes 4 minutes on two quiet cores, or 10 in whole."""
UNLIKELY = 4
"""Standard errors that chance does not come to. (Two are the goal, which `make e2e` judges.)"""
UNCHECKED = 'sum(acereason_verifier_verdicts_total{verdict="infra_error"})'
"""Verdicts that the verifier could not come to: such answers are graded once more, and then left
out."""
WATCHED = {
    "acereason_runs": "runs by state, of the operator",
    'acereason_run_stage_state{run="quickstart", state="Running"} == 1': "states of its stages",
    'acereason_stage_reward{run="quickstart"}': "a stage's own series, of its rank 0",
    "acereason_verifier_verdicts_total > 0": "what the verifier judged",
    "acereason_leader == 1": "one of two replicas leads",
}
"""Expressions that must have an answer at some time of a run, and what they show."""
NOT_VALIDATED = "no stage of the quickstart has a validation set"
WITHOUT = {
    **{f"runs: Validation accuracy {letter}": NOT_VALIDATED for letter in "ABC"},
    "runs: Entropy against its target B": "its temperatures are fixed, not chosen by entropy",
    "runs: Use of the devices B": "mfu: nobody says what a CPU's peak is",
}
"""Panels in which the quickstart shows nothing, and why. (tests/monitoring fills them.)"""
WITHOUT_SERIES = {"acereason_stage_entropy_target": "as above"}
"""The same of series that alerts name."""


@dataclass
class Seen:
    """What people and Prometheus saw of the run while it went on, and how it ended."""

    seconds: float = 0.0
    """From `kubectl apply` to Complete."""
    since_install: float = 0.0
    """From the beginning of `helm install` to Complete."""
    status: Mapping[str, Any] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)
    """Words of the lines that `kubectl get arr --watch` printed: one for each write."""


@dataclass
class Watch:
    """`kubectl get arr --watch` of the run, which misses no state, however short."""

    installation: Installation
    printed: Path
    process: "subprocess.Popen[bytes] | None" = None

    def go_on(self) -> None:
        """Start it where it does not run: a server ends each watch, after half an hour or later."""
        if self.process is None or self.process.poll() is not None:
            words = ("get", "arr", NAME, "--watch")
            self.process = self.installation.kubectl_beside(self.printed, *words)

    def rows(self) -> list[list[str]]:
        """Words of the lines so far, without those of headings."""
        lines = self.printed.read_text().splitlines(keepends=True)
        found = [line.split() for line in lines if line.endswith("\n")]
        return [words for words in found if words[0] != "NAME"]

    def shows_the_end(self) -> bool:
        """Whether a line says that the run is complete, which comes after its status."""
        self.go_on()
        return any(words[1] == "Complete" for words in self.rows())

    def end(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def seen(
    installation: Installation,
    observed: Prometheus,
    costs: Costs,
    whole: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Seen]:
    """The run, from its file to its end, under the eyes of Prometheus. 4 minutes; 10 with
    --whole."""
    applied = time.monotonic()
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(run_file(installation, whole)))
    found = Seen()
    watch = Watch(installation, tmp_path_factory.mktemp("quickstart") / "printed")
    try:
        wait_for(
            lambda: look(watch, found),
            "the quickstart is complete",
            lambda: installation.kubectl("describe", "arr", NAME)[-4000:],
            PATIENCE,
            every=3,  # a look takes two cores for a moment, and the run needs them
        )
        found.seconds = time.monotonic() - applied
        found.since_install = time.monotonic() - installation.began
        wait_for(watch.shows_the_end, "a line of its end", watch.printed.read_text)
    finally:
        watch.end()
    found.rows = watch.rows()
    costs.note_quickstart(whole, found.seconds, found.since_install)
    yield found


def run_file(installation: Installation, whole: bool) -> Any:
    """examples/quickstart.yaml for a claim, by the command that it names."""
    patch = {"spec": {"storage": {"directory": None, "claim": CLAIM}}}
    file = str(EXAMPLES / "quickstart.yaml")
    words = ("patch", "--local", "-f", file, "-o", "json", "--type", "merge", "-p")
    return document(json.loads(installation.kubectl(*words, json.dumps(patch))), whole)


def look(watch: Watch, found: Seen) -> bool:
    """Note what there is to see now; whether the run is complete."""
    watch.go_on()
    found.status = watch.installation.get("arr", NAME).get("status", {})
    conditions = {c["type"]: c["status"] for c in found.status.get("conditions", ())}
    assert conditions.get("Failed") != "True", found.status
    return conditions.get("Complete") == "True"


def test_every_stage_completes_at_its_first_attempt(seen: Seen) -> None:
    stages = seen.status["stages"]
    assert len(stages) == 13
    assert {(s["state"], s["attempts"]) for s in stages} == {("Complete", 1)}


def test_the_table_is_that_of_acereason_run(
    seen: Seen, installation: Installation, observed: Prometheus, costs: Costs, whole: bool
) -> None:
    here = outcome(seen.status, installation.store)
    compared = differences(here, expected(whole))
    assert len(compared) == 10, "two tasks after SFT and each RL stage"
    unchecked = max(observed.numbers(UNCHECKED), default=0)
    cause = f"to {unchecked:g} of its verdicts the verifier could not come"
    for task in ("math", "code"):
        ours = [d for d in compared if d.task == task]
        error = math.sqrt(sum(d.error**2 for d in ours)) / len(ours)
        apart = sum(d.here - d.there for d in ours) / len(ours)
        costs.note_table(task, apart, error, max(d.in_errors for d in ours))
        assert abs(apart) <= UNLIKELY * error, cause
    assert not [d for d in compared if d.in_errors > UNLIKELY], cause


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("expression", WATCHED)
def test_prometheus_sees_it(observed: Prometheus, expression: str) -> None:
    assert observed.numbers(expression), WATCHED[expression]


@pytest.mark.usefixtures("seen")
def test_every_panel_every_choice_and_every_alert_has_what_it_asks_for(
    observed: Prometheus,
) -> None:
    """A hundred expressions over the whole time of the run, in a second."""
    wait_until_answered(
        {
            **shown_by_panels(observed, WITHOUT),
            **offered_by_choices(observed),
            **asked_by_alerts(observed, WITHOUT_SERIES),
        }
    )
    filled = [panel for panel in WITHOUT if observed.numbers(PANELS[panel])]
    assert not filled, "they are no longer without data: take them off the list"
    assert health(observed) == {rule["alert"]: "ok" for rule in ALERTS}


@pytest.mark.usefixtures("seen")
def test_logs_of_a_stage_say_how_far_it_is(installation: Installation) -> None:
    label = f"acereason.dev/run={NAME},acereason.dev/stage=math-1,acereason.dev/phase=train"
    said = installation.kubectl("logs", "-l", label, "--tail=-1")
    assert "steps" in said, said


def test_kubectl_get_shows_state_stage_and_progress(seen: Seen) -> None:
    assert all(words[0] == NAME for words in seen.rows)
    assert {"Running", "Complete"} <= {words[1] for words in seen.rows}
    assert [words for words in seen.rows if "math-1" in words]
    assert [words for words in seen.rows if re.search(r" \d+/13 \(\d+/\d+\) ", " ".join(words))]


def test_describe_tells_how_each_stage_ended(seen: Seen, installation: Installation) -> None:
    _, _, events = installation.kubectl("describe", "arr", NAME).partition("\nEvents:")
    for stage in seen.status["stages"]:
        assert re.search(rf"stage {stage['name']}: ", events), f"{stage['name']} in {events}"


def test_no_pod_was_given_a_token_or_a_secret(installation: Installation, seen: Seen) -> None:
    """Those in which its stages trained, and those that prepared them, as far as they are left."""
    pods = installation.get("pods", "-l", f"acereason.dev/run={NAME}")["items"]
    trained = [pod for pod in pods if pod["metadata"]["labels"]["acereason.dev/phase"] == "train"]
    assert len(trained) == len(seen.status["stages"])
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        volumes = {next(iter(volume.keys() - {"name"})) for volume in pod["spec"]["volumes"]}
        assert volumes <= {"persistentVolumeClaim", "downwardAPI", "emptyDir"}
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            assert "envFrom" not in container
            given = [variable.get("valueFrom", {}) for variable in container.get("env", ())]
            assert not [source for source in given if "secretKeyRef" in source]


def test_the_store_holds_what_status_says(seen: Seen, installation: Installation) -> None:
    store: Path = installation.store
    for stage in seen.status["stages"]:
        manifest = json.loads((store / stage["artifact"]["uri"] / "manifest.json").read_text())
        assert manifest["digest"] == stage["artifact"]["digest"]
