"""`evaluate` and `curate` on two ranks, as the launcher starts them: the same figures as of one."""

from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.prepare.key import stage_key

from tests.stage_attempts import attempt, published
from tests.trainer.test_exact_resume import next_attempt
from tests.trainer.test_measuring_stages import CURATE, EVALUATE, kept_answers, measured
from tests.trainer.test_several_ranks import launched, stopped

pytestmark = pytest.mark.slow
"""10 to 20 s for each launch: two processes that import torch."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the operator would tell two ranks on two cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def shared(store: Path, model: Path, settings: dict[str, Any], ranks: int = 2) -> dict[str, Any]:
    """Attempt 1 under its real key, which the launcher computes again."""
    stage = measured(store, model, settings)
    file = StageFile.parse(stage)
    assert file.prepared is not None
    key = stage_key(file, file.prepared.inputs)
    return {**stage, "ranks": ranks, "prepared": {**stage["prepared"], "key": key}}


ANSWERS = 18
"""That EVALUATE asks for."""
DUMPED = {"telemetry": {"dumpRolloutsEvery": 1}}
WHOLE_SET = {"evaluate": {**EVALUATE["evaluate"], "sets": EVALUATE["evaluate"]["sets"][:1]}}


@pytest.mark.parametrize(
    ("settings", "answers"),
    [
        ({"evaluate": {**WHOLE_SET["evaluate"], **DUMPED}}, 12),
        ({"curate": {**CURATE["curate"], **DUMPED}}, 16),
    ],
    ids=["evaluate", "curate"],
)
def test_two_ranks_measure_what_one_process_measures(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], answers: int
) -> None:
    alone = shared(tmp_path / "alone", tiny_model, settings, ranks=1)
    assert attempt(alone) == ExitCode.DONE
    stage = shared(tmp_path / "shared", tiny_model, settings)
    record = launched(stage)
    assert (record.exit_code, record.reason) == (ExitCode.DONE, "Done")
    assert published(stage)[0] == published(alone)[0]
    work_dir = Path(stage["store"]) / StageFile.parse(stage).work_dir
    drawn_by_the_first = sum(
        len(file.read_text().splitlines()) for file in (work_dir / "rollouts").iterdir()
    )
    assert 0 < drawn_by_the_first < answers, "the other one has drawn its share"


@pytest.mark.parametrize(
    ("killed", "code", "then"),
    [(None, ExitCode.STOPPED, 2), (None, ExitCode.STOPPED, 1), (1, ExitCode.TEMPORARY, 2)],
    ids=["stopped", "goes on with one", "one is killed"],
)
def test_two_ranks_that_end_early_go_on_to_the_same_figures(
    tmp_path: Path, tiny_model: Path, killed: int | None, code: ExitCode, then: int
) -> None:
    straight = shared(tmp_path / "straight", tiny_model, EVALUATE, ranks=1)
    assert attempt(straight) == ExitCode.DONE
    store = tmp_path / "broken off"
    stage = shared(store, tiny_model, EVALUATE)
    assert stopped(stage, 8, killed).exit_code == code
    before = kept_answers(store / StageFile.parse(stage).work_dir)
    assert len(before) >= 8, "what was checked is not lost"
    stage = {**next_attempt(stage, store), "ranks": then}
    assert launched(stage).exit_code == ExitCode.DONE
    after = kept_answers(store / StageFile.parse(stage).work_dir)
    assert not set(after) & set(before), "nor drawn again"
    assert len(set(before) | set(after)) == ANSWERS
    assert published(stage)[0] == published(straight)[0]
