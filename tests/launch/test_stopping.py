"""SIGTERM, peers that fail, and ranks that get nowhere."""

import errno
import signal
import time
from pathlib import Path

import pytest
from acereason_trainer.config.stage_file import Progress
from acereason_trainer.launch.watchdog import Watchdog, read_progress
from attempts import BY_CLOCK, an_attempt, ended_by

from tests.waiting import wait_for


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_and_charged_to_nobody(tmp_path: Path, number: signal.Signals) -> None:
    attempt = an_attempt(tmp_path)
    with attempt.launched("stop-on-term") as launcher:
        attempt.ready()
        assert ended_by(launcher, number) == 143
    assert attempt.record.reason == "Stopped"


@pytest.mark.parametrize("rank_code", ["0", "143", "1"])
def test_what_was_published_after_a_stop_is_done(tmp_path: Path, rank_code: str) -> None:
    attempt = an_attempt(tmp_path)
    with attempt.launched("publish-on-term", rank_code) as launcher:
        attempt.ready()
        assert ended_by(launcher, signal.SIGTERM) == 0
    assert attempt.record.artifact is not None


def test_a_rank_that_has_said_why_it_ends_is_believed_though_it_must_be_killed(
    tmp_path: Path,
) -> None:
    """What it still does may take long where the store does: its log is there."""
    attempt = an_attempt(tmp_path, grace_seconds=0.5)
    with attempt.launched("fail", "hang") as launcher:
        attempt.ready()
        assert ended_by(launcher, signal.SIGTERM) == 76
    assert (attempt.record.reason, attempt.record.message) == ("RewardCollapse", "the reward fell")


def test_a_rank_that_ignores_the_stop_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, grace_seconds=0.5)
    with attempt.launched("ignore-term") as launcher:
        attempt.ready()
        started = time.monotonic()
        assert ended_by(launcher, signal.SIGTERM) == 143
        assert time.monotonic() - started >= 0.5
    assert attempt.record.reason == "Killed"


def test_a_stop_that_comes_before_the_ranks_is_not_lost(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    lock = attempt.work_dir / "launcher.lock"
    with attempt.launched("ignore-term") as launcher:
        wait_for(
            lambda: lock.exists() and lock.read_text() != "", "the launcher's lock", every=0.005
        )
        assert ended_by(launcher, signal.SIGTERM) == 143


def test_peers_of_a_failed_rank_are_stopped_and_do_not_hide_it(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, ranks=3)
    assert attempt.launch("exit", "78").returncode == 78
    assert attempt.record.rank == 0


def test_ranks_without_progress_are_ended_with_their_stacks_in_the_log(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, no_progress_seconds=5)
    assert attempt.launch("hang-after-a-step", launcher=BY_CLOCK).returncode == 75
    assert attempt.record.reason == "NoProgress"
    assert "no step for 5 s (deadlines.noProgress): the ranks were ended" in attempt.record.message
    assert attempt.record.step == 3
    assert "fake_rank.py" in (attempt.work_dir / "rank-0.log").read_text()


def test_a_stage_that_advances_is_left_alone(tmp_path: Path) -> None:
    """For longer than it could go without a step."""
    attempt = an_attempt(tmp_path, no_progress_seconds=5)
    assert attempt.launch("steps", "20", launcher=BY_CLOCK).returncode == 0


@pytest.mark.parametrize(
    ("seen", "stuck", "why"),
    [
        ([(0, None), (9, None)], False, "still below the limit"),
        ([(0, None), (10, None)], True, "nothing was ever reported"),
        ([(0, (1, "train")), (9, (2, "train")), (18, (2, "train"))], False, "a step in between"),
        ([(0, (1, "generate")), (9, (1, "train")), (18, (1, "train"))], False, "another phase"),
        ([(0, (1, "train")), (9, (1, "train")), (10, (1, "train"))], True, "the same step"),
        ([(0, (5, "train")), (10, (4, "train"))], False, "a resumed stage may step back"),
        ([(0, (1, "train")), (9, None), (10, (1, "train"))], True, "unreadable is no news"),
        ([(0, (1, "train")), (9, None), (10, None)], True, "nor is it later"),
    ],
)
def test_only_a_changed_step_or_phase_is_progress(
    seen: list[tuple[float, tuple[int, str] | None]], stuck: bool, why: str
) -> None:
    watchdog = Watchdog(10, now=0)
    looks = [
        watchdog.is_stuck(mark and Progress(step=mark[0], phase=mark[1]), now) for now, mark in seen
    ]
    assert looks[-1] is stuck, why


def test_progress_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """Whatever the system says: a directory is read no better than a file that went stale."""
    assert read_progress(tmp_path / "not there") is None
    assert read_progress(tmp_path) is None


def test_a_file_that_another_node_has_just_replaced_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk, stale = tmp_path / "progress.json", Path.read_bytes, [errno.ESTALE]
    path.write_text(Progress(step=7).model_dump_json())

    def read(path: Path) -> bytes:
        if stale:
            raise OSError(stale.pop(), "stale")
        return disk(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    seen = read_progress(path)
    assert seen is not None
    assert seen.step == 7


@pytest.mark.parametrize(
    ("changes", "stuck_after", "why"),
    [
        ([], 7200, "nothing was ever reported"),
        ([60, 700], 7200, "ten times 640 s is less"),
        ([60, 960, 1000], 9000, "ten times 900 s, not the last interval alone"),
        ([800, 900], 8000, "the first report took the longest"),
    ],
)
def test_without_a_limit_a_stage_is_stuck_after_two_hours_or_ten_times_the_longest_so_far(
    changes: list[float], stuck_after: float, why: str
) -> None:
    watchdog, last = Watchdog(None, now=0), changes[-1] if changes else 0
    seen = [Progress(step=n, phase="train") for n in range(len(changes))]
    for now, progress in zip(changes, seen, strict=True):
        assert not watchdog.is_stuck(progress, now)
    standing = seen[-1] if seen else None
    assert not watchdog.is_stuck(standing, last + stuck_after - 1), why
    assert watchdog.is_stuck(standing, last + stuck_after), why


def test_a_limit_of_nothing_is_none() -> None:
    assert not Watchdog(0, now=0).is_stuck(None, 1e9)


def test_the_end_says_whose_limit_it_was() -> None:
    assert Watchdog(5, now=0).said == "5 s (deadlines.noProgress)"
    own = Watchdog(None, now=0)
    own.is_stuck(Progress(step=1, phase="train"), 900)
    assert own.said == (
        "9000 s (10 times the longest so far, but at least 7200 s, as deadlines.noProgress is not "
        "set)"
    )
