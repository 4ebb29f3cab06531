"""A store that fails or goes in the middle of a stage: the infrastructure's fault."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import a_stage, attempt, failure, write_rows


@pytest.fixture
def stage(tmp_path: Path) -> dict[str, Any]:
    """One that needs no model."""
    rows = write_rows(tmp_path / "rows.jsonl", [{"problem": "How much is 1 + 1?", "answer": "2"}])
    return a_stage(
        tmp_path / "store", {"curate": {"rules": {"minProblemCharacters": 1}}}, data=rows
    )


def fails_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What the system says the next time that something is flushed."""
    disk, says = os.fsync, [number]

    def fsync(descriptor: int) -> None:
        if says:
            raise OSError(said := says.pop(), os.strerror(said))
        disk(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS])
def test_a_store_that_goes_away_ends_an_attempt_that_is_tried_again(
    stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fails_once(monkeypatch, number)
    assert attempt(stage) == ExitCode.TEMPORARY
    assert failure(stage)["reason"] == "StoreUnusable"
    assert os.strerror(number) in failure(stage)["message"]


def test_a_containers_own_root_that_is_read_only_is_no_matter_of_the_store(
    stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/cache/model")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="/cache/model"):
        attempt(stage)


def test_what_says_nothing_of_the_store_stays_a_failure_of_the_stage(
    stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, errno.EINVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        attempt(stage)
