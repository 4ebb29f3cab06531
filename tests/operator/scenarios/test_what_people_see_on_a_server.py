"""What kubectl tells of runs: the README shows it, and it stays as it is shown there."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.stage_file import Progress
from scenarios.play import Outcomes
from scenarios.scene import TRAINS, Scene

from tests.waiting import PATIENCE

SHOWN = Path(__file__).parents[3] / "docs/generated/kubectl"
RECORD = "RECORD_KUBECTL"
CUT = "[...]"
EXPLAINED = 26
"""Lines of an explanation that show its form."""

VOLATILE = {
    r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "TIME",
    r"\bresearch-[a-z0-9]{5}(-\d+)?\b": "research",
    r"-train-[0-9a-f]{8}-(\d)-[a-z0-9]{5}\b": r"-train-\1",
    r"\b[0-9a-f]{32}\b": "DIGEST",
    r" (\d+[smh])+( \(x\d+ over \w+\))?(?= |$)": " AGE",
    r" +": " ",
    r" $": "",
    r"-+": "-",
}
"""What differs from one time to the next, and what is compared instead."""

WAIT = "wait --for=condition=Complete --timeout=1h arr/acereason-7b"
ENDS = f"wait --for=jsonpath={{.status.finishedAt}} --timeout={PATIENCE:.0f}s arr/acereason-7b"

RECIPE: list[dict[str, Any]] = [
    {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "prompts.jsonl"}}},
    {"name": "sft", "sft": {}},
    {"name": "math-8k", "mathRL": {}, "inputs": {"data": {"stage": "prompts"}}, "nodes": 2,
     "retries": {"user": 0}},
    {"name": "exam", "evaluate": {"sets": [{"name": "aime", "file": "aime.jsonl"}]}},
]  # fmt: skip
LOG = """step 213 reward 0.412 entropy 0.31 seconds 184
step 214 generate 61% tokens 3,412,338
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9.27 GiB"""


async def test_a_run_that_runs_and_one_that_fails(on: Scene) -> None:
    on.hold = {"math-8k"}
    on.part.progress["math-8k"] = Progress(step=214, total=600, metrics={"reward": 0.412})
    await on.apply("acereason-7b", stages=RECIPE)
    await on.until(lambda: on.stage("math-8k", "acereason-7b").step == 214)
    await show(on, "get", "get", "arr")
    pods = await on.running("math-8k", pods=2)
    await on.end(
        pods[1], 1, reason="OutOfMemory", rank=11, step=214, log_tail=LOG,
        message="rank 11 ran out of GPU memory",
    )  # fmt: skip
    await on.kubectl(*ENDS.split())
    await on.until(lambda: on.is_("Failed", "acereason-7b"))  # our own watch may come later
    await on.until_told("RunFailed", "acereason-7b")
    await show(on, "describe", "describe", "arr", "acereason-7b")
    await show(on, "wide", "get", "arr", "-o", "wide")


async def show(on: Scene, name: str, *words: str) -> None:
    """Keep what a command prints, with the command."""
    on.shown[name] = f"$ kubectl {' '.join(words)}\n{telling(await on.kubectl(*words))}"


def telling(text: str) -> str:
    """Of what describe prints, the failure and the Events, of what explain prints the beginning;
    all of what other commands print."""
    if text.startswith("GROUP:"):
        return "".join([*text.splitlines(keepends=True)[:EXPLAINED], f"{CUT}\n"])
    failure = re.search(
        r"^    Last Failure:\n.*?^      Verdict:.*?\n", text, re.DOTALL | re.MULTILINE
    )
    if failure is None:
        return text
    return f"{CUT}\n{failure[0]}{CUT}\n{text[text.index('Events:') :]}"


@pytest.mark.parametrize("name", ["get", "wide", "describe", "wait", "explain"])
def test_it_is_what_is_shown(name: str, played: Outcomes) -> None:
    if os.environ.get(RECORD):
        SHOWN.mkdir(exist_ok=True)
        (SHOWN / f"{name}.txt").write_text(played.shown[name], encoding="utf-8")
    shown = (SHOWN / f"{name}.txt").read_text(encoding="utf-8")
    assert shape(played.shown[name]) == shape(shown), f"{RECORD}=1 pytest ..., then make generate"


def shape(text: str) -> list[str]:
    """What kubectl printed, without what is different each time. Events of the same second come in
    any order."""
    for volatile, instead in VOLATILE.items():
        text = re.sub(volatile, instead, text, flags=re.MULTILINE)
    told, _, events = text.strip().partition("Events:")
    return [*told.splitlines(), *sorted(events.splitlines())]


async def test_a_run_can_be_waited_for(on: Scene) -> None:
    await on.apply("acereason-7b", stages=[TRAINS])
    await show(on, "wait", *WAIT.split())
    assert on.shown["wait"].endswith("acereasonrun.acereason.dev/acereason-7b condition met\n")


async def test_every_field_is_explained(on: Scene) -> None:
    """With meaning, unit and why the default is what it is, as in the reference."""
    await show(on, "explain", "explain", "arr.spec.stages")
    stages = await on.kubectl("explain", "arr.spec.stages")
    for words in ("FIELD: stages <[]Object>", "mathRL", "needs", "Default: the stage above"):
        assert words in " ".join(stages.split())
    deeper = await on.kubectl("explain", "acereasonruns.spec.stages.mathRL.groupSize")
    assert "fixed" in deeper
    assert "The recipe. A stage needs the one above it" in " ".join(stages.split())
