"""`evaluate` and `curate` with vLLM: the same answers as transformers gives, and none lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import attempt, published
from tests.trainer.rollout.test_vllm_stage import (
    InMidGeneration,
    engines,
    mark_the_first_response,
    stop,
    work_dir,
)
from tests.trainer.rollout.vllm_models import VLLM, a_model, wrote
from tests.trainer.test_exact_resume import next_attempt
from tests.trainer.test_measuring_ranks import shared
from tests.trainer.test_measuring_stages import CURATE, EVALUATE, SAMPLED, measured
from tests.trainer.test_several_ranks import launched

pytestmark = pytest.mark.slow
"""20 to 60 s for each start of an engine: 1 in the first test, 2 in each of the others, the last
time at once."""
SHORT = {"template": "plain", "codeInstruction": "Code."}
"""Prompts for a model that reads 160 characters."""
DRAWN_BY_VLLM: dict[str, Any] = {**SAMPLED, "prompting": SHORT, "sampler": "vllm", "vllm": VLLM}
ANSWERS = 18


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


def test_an_evaluation_goes_on_after_a_stop_with_what_was_drawn(
    tmp_path: Path, model: Path
) -> None:
    store = tmp_path / "store"
    stage = an_evaluation(store, model, **DRAWN_BY_VLLM)
    assert attempt(stage, InMidGeneration(store, 1, stop)) == ExitCode.STOPPED
    assert engines() == []
    mark_the_first_response(work_dir(stage))
    drawn = wrote(work_dir(stage))
    assert 0 < len(drawn) <= ANSWERS
    stage = next_attempt(stage, store)
    assert attempt(stage) == ExitCode.DONE
    kept = [
        answer["text"]
        for file in (work_dir(stage) / "answers").glob("*.json")
        for answer in json.loads(file.read_text())
    ]
    assert len(kept) == ANSWERS
    assert kept.count("marked") == 1, "what the first attempt drew is not drawn again"


def test_two_ranks_share_the_attempts_of_a_pass_rate(tmp_path: Path, model: Path) -> None:
    filtered = {**CURATE["curate"], "passRate": {**CURATE["curate"]["passRate"], **DRAWN_BY_VLLM}}
    stage = shared(tmp_path / "shared", model, {"curate": filtered})
    record = launched(stage)
    assert (record.exit_code, record.message) == (ExitCode.DONE, record.message)
    drawn = [{name for name, _ in wrote(work_dir(stage), rank)} for rank in range(2)]
    assert all(drawn), "both have drawn"
    assert not drawn[0] & drawn[1], "and nothing twice"
    assert sum(map(len, drawn)) == 16
    report = json.loads((published(stage)[1] / "report.json").read_text())
    assert sum(report["passCounts"].values()) == 8
