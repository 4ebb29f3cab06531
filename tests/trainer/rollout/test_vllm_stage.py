"""RL stages whose responses vLLM draws."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.processes import children
from acereason_trainer.stage import StopFlag, Stopped
from acereason_trainer.telemetry.recorder import read_metrics

from tests.stage_attempts import a_stage, attempt, failure, published, write_rows
from tests.trainer.rollout.vllm_models import (
    RL_SETTINGS,
    a_model,
    remove_what_workers_shared,
    wrote,
)
from tests.trainer.test_exact_resume import next_attempt
from tests.trainer.test_several_ranks import a_prepared_stage, launched

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("importable_rewards"),
]
"""20 to 60 s for each start of an engine: 3 in the first test, 2 at once in the second, 1 in the
third."""


RESPONSES = 12
"""Of a step."""


class InMidGeneration(StopFlag):
    """Something happens when the first responses are done and others are still drawn."""

    def __init__(self, store: Path, attempt: int, what: Callable[[], None]) -> None:
        super().__init__()
        self._work_dir = store / f"work/run/stage/{attempt}"
        self._what = what
        self.engines_beside_the_state: list[int] | None = None

    @property
    def seconds_since(self) -> float:
        """Asked for when the state of a stop is about to be written."""
        self.engines_beside_the_state = engines()
        return 0.0

    def check(self) -> None:
        if wrote(self._work_dir):
            self._what()


def stop() -> None:
    """A SIGTERM."""
    raise Stopped


def kill_the_engine() -> None:
    """The machine takes its process away."""
    for engine in engines():
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine, signal.SIGKILL)


def engines() -> list[int]:
    return [c for c in children() if b"vllm_engine" in Path(f"/proc/{c}/cmdline").read_bytes()]


def a_vllm_stage(store: Path, model: Path) -> dict[str, Any]:
    rows = [{"problem": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(9)]
    data = write_rows(store / "rows.jsonl", rows)
    return a_stage(store, {"mathRL": RL_SETTINGS}, model=model, data=data)


def work_dir(stage: dict[str, Any]) -> Path:
    return Path(stage["store"]) / StageFile.parse(stage).work_dir


def mark_the_first_response(work_dir: Path) -> None:
    """As no engine would draw it again from the same seed."""
    file = next((work_dir / "journal").glob("responses-0-*.jsonl"))
    first, *others = file.read_text().splitlines(keepends=True)
    name, (tokens, logprobs, finish, _) = json.loads(first)
    marked = json.dumps([name, [tokens, logprobs, finish, "marked"]]) + "\n"
    file.write_text("".join([marked, *others]))


def test_a_stage_goes_on_after_a_stop_and_after_the_death_of_its_engine(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = a_model(tmp_path / "model", tiny_model, tied=True)
    store = tmp_path / "store"
    stage = a_vllm_stage(store, model)
    stopped = InMidGeneration(store, 1, stop)
    assert attempt(stage, stopped) == ExitCode.STOPPED
    assert stopped.engines_beside_the_state == []  # on a GPU there is no room for both
    mark_the_first_response(work_dir(stage))
    drawn = wrote(work_dir(stage))
    assert 0 < len(drawn) <= RESPONSES

    stage = next_attempt(stage, store)
    assert attempt(stage, InMidGeneration(store, 2, kill_the_engine)) == ExitCode.TEMPORARY
    assert failure(stage)["reason"] == "SamplerDied"
    assert "the process of the vLLM engine of rank 0 is gone" in failure(stage)["message"]
    assert dict(drawn).items() <= dict(wrote(work_dir(stage))).items()

    stage = next_attempt(stage, store)
    assert attempt(stage) == ExitCode.DONE
    _, artifact = published(stage)
    curves = read_metrics(artifact / "metrics.jsonl")
    assert [row["step"] for row in curves] == [1, 2, 3, 4, 5, 6]
    for row in curves:
        assert row["mismatch_kl"] < 1e-6
        assert row["probe_difference"] < 1e-5
        assert row["tail_seconds"] >= 0
    assert engines() == []


def drawn_by_two_ranks(store: Path, model: Path, **vllm: int) -> list[set[str]]:
    """Names of the responses that each of two ranks has drawn in two good steps of a stage."""
    told = {
        **RL_SETTINGS,
        "stop": {"steps": 2},
        "saving": {},  # no state that would clear the journal
        "vllm": {**RL_SETTINGS["vllm"], **vllm},
    }
    stage = a_prepared_stage(store, model, "mathRL", 2, **told)
    record = launched(stage)
    assert (record.exit_code, record.message) == (ExitCode.DONE, record.message)
    curves = read_metrics(published(stage)[1] / "metrics.jsonl")
    assert [row["step"] for row in curves] == [1, 2]
    assert all(row["mismatch_kl"] < 1e-6 for row in curves)
    return [{name for name, _ in wrote(work_dir(stage), rank)} for rank in range(2)]


def test_two_ranks_share_one_queue_between_their_engines(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = a_model(tmp_path / "model", tiny_model, tied=True)
    drawn = drawn_by_two_ranks(tmp_path / "store", model, maxSequences=2)
    assert all(drawn)  # both have drawn
    assert not drawn[0] & drawn[1]  # and nothing twice


def test_two_ranks_draw_with_one_engine_that_is_spread_over_both(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # there are fewer NUMA nodes
    model = a_model(tmp_path / "model", tiny_model, tied=False, heads=4)
    first, second = drawn_by_two_ranks(tmp_path / "store", model, tensorParallel=2)
    remove_what_workers_shared()
    assert first
    assert not second, "it has no engine"
