"""The quickstart itself, made small: every stage kind, for real, from the file that users run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.python_path import python_path

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = """
spec:
  stages:
    - {name: sft, sft: {budget: {steps: 12}, optimizer: {warmupSteps: 2}}}
    - {name: math-1, mathRL: {stop: {steps: 2}, promptsPerStep: 4}}
    - {name: math-2, mathRL: {stop: {steps: 1}, promptsPerStep: 4}}
    - {name: code, codeRL: {stop: {steps: 1}, promptsPerStep: 4}}
    - {name: math-3, mathRL: {stop: {steps: 1}, promptsPerStep: 4}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example and a little of its data."""
    root = tmp_path_factory.mktemp("project")
    (root / "examples" / "quickstart").mkdir(parents=True)
    shutil.copy(EXAMPLES / "quickstart.yaml", root / "examples")
    shutil.copy(EXAMPLES / "quickstart" / "model.json", root / "examples" / "quickstart")
    (root / "small.yaml").write_text(SMALL)
    data = root / "examples" / "quickstart" / "data"
    sizes = {"sft-math": 300, "sft-code": 300, "rl": 200, "eval-math": 12, "eval-code": 12}
    small = [word for name, n in sizes.items() for word in (f"--{name}-rows", str(n))]
    subprocess.run(
        [sys.executable, "-m", "examples.quickstart.make_data", "--out", str(data), *small],
        check=True,
        cwd=EXAMPLES.parent,
    )
    return root


def acereason(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "acereason_operator.cli.main", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=project,
        env={**_environment(), "XDG_STATE_HOME": str(project / "state")},
    )


def run(project: Path) -> list[dict[str, Any]]:
    """Events of a whole run."""
    words = ["run", "examples/quickstart.yaml", "--values", "small.yaml", "-o", "json"]
    ended = acereason(project, *words)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.slow
def test_the_quickstart_runs_through_every_stage_and_is_not_done_twice(project: Path):
    """Costs about 90 s: thirteen stages, each a process that imports torch."""
    run(project)
    status = json.loads(acereason(project, "status", "quickstart", "-o", "json").stdout)
    stages = {s["name"]: s for s in status["stages"]}
    assert {s["state"] for s in stages.values()} == {"Complete"}
    assert {c["type"] for c in status["conditions"] if c["status"] == "True"} == {"Complete"}
    store = project / "build" / "quickstart" / "store"
    results = json.loads(
        (store / stages["math-3-eval"]["artifact"]["uri"] / "results.json").read_text()
    )
    assert [(s["name"], s["problems"], s["samples"]) for s in results["sets"]] == [
        ("math", 12, 4),
        ("code", 12, 4),
    ]
    assert acereason(project, "report", "quickstart").returncode == 0
    page = (store / "runs" / "quickstart" / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "")

    tree = acereason(project, "lineage", "quickstart/math-3").stdout
    assert [name for name in ("code", "math-2", "math-1", "sft") if name not in tree] == []
    assert acereason(project, "artifacts", "verify").returncode == 0

    planned = acereason(
        project, "plan", "examples/quickstart.yaml", "--values", "small.yaml", "-o", "json"
    )
    assert {p["stage"] for p in json.loads(planned.stdout)} == set(stages)
    attempts = {name: s["attempts"] for name, s in stages.items()}
    run(project)
    again = json.loads(acereason(project, "status", "quickstart", "-o", "json").stdout)
    assert {s["name"]: s["attempts"] for s in again["stages"]} == attempts, "nothing ran again"


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": python_path(EXAMPLES.parent)}
