"""Whatever happens to the ranks, the launcher ends with the contract's code and says why."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from attempts import an_attempt, ended_by

from tests.artifacts.artifact_builders import write_state
from tests.waiting import is_alive, wait_for


@pytest.mark.parametrize(
    ("behaviour", "argument", "code", "reason"),
    [
        ("publish", "", 0, "Done"),
        ("exit", "65", 65, "Failed"),
        ("exit", "75", 75, "Failed"),
        ("exit", "76", 76, "Failed"),
        ("exit", "78", 78, "Failed"),
        ("exit", "143", 143, "Stopped"),
        ("exit", "1", 1, "Failed"),
        ("exit", "42", 42, "Failed"),
        ("exit", "0", 1, "NothingPublished"),
        ("fail", "", 76, "RewardCollapse"),
        ("fail", "SIGABRT", 76, "RewardCollapse"),
        ("fail", "SIGKILL", 76, "RewardCollapse"),
        ("segfault", "", 139, "Crashed"),
        ("kill-self", "SIGABRT", 134, "Crashed"),
        ("hung-collective", "", 75, "HungCollective"),
        ("kill-self", "SIGKILL", 75, "Killed"),
        ("kill-self", "SIGTERM", 143, "Stopped"),
    ],
)
def test_one_rank_decides(
    tmp_path: Path, behaviour: str, argument: str, code: int, reason: str
) -> None:
    attempt = an_attempt(tmp_path)
    done = attempt.launch(behaviour, argument)
    assert done.returncode == code, done.stderr
    assert (attempt.record.exit_code, attempt.record.reason) == (code, reason)
    assert attempt.record.message


def test_the_record_of_a_failure_holds_its_rank_and_the_end_of_its_log(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, ranks=2)
    assert attempt.launch("exit", "3").returncode == 3
    assert attempt.record.rank == 0
    assert attempt.record.log_tail == "last words\n"
    assert attempt.record.message == "rank 0 ended with 3: last words"


def test_a_crash_leaves_its_stack_in_the_log(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    attempt.launch("segfault")
    assert "fake_rank.py" in attempt.record.log_tail


def test_the_record_of_a_success_holds_the_artifact_and_the_progress(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    attempt.launch("publish")
    record = attempt.record
    assert record.artifact is not None
    assert attempt.file.prepared is not None
    assert record.artifact.uri == f"artifacts/{attempt.file.prepared.key}"
    assert record.metrics == {"accuracy/math": 0.25, "reward": 0.5}
    assert (record.step, record.log_tail) == (7, "")


@pytest.mark.parametrize(
    ("codes", "code"),
    [("0,78", 78), ("1,65", 65), ("76,1", 1), ("75,76", 76), ("143,75", 75), ("0,143", 143)],
)
def test_the_most_specific_of_two_ranks_wins(tmp_path: Path, codes: str, code: int) -> None:
    attempt = an_attempt(tmp_path, ranks=2)
    assert attempt.launch("exits", codes).returncode == code


def test_a_finished_artifact_ends_the_attempt_before_a_rank_starts(tmp_path: Path) -> None:
    an_attempt(tmp_path).launch("publish")
    second = an_attempt(tmp_path, number=2)
    assert second.launch("exit", "1").returncode == 0
    assert second.record.reason == "Reused"
    assert second.record.metrics["accuracy/math"] == 0.25
    assert second.record.artifact is not None
    assert not (second.work_dir / "rank-0.log").exists()


def test_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    first = an_attempt(tmp_path)
    first.launch("publish")
    assert first.record.artifact is not None
    rows = tmp_path / first.record.artifact.uri / "rows.jsonl"
    rows.chmod(0o644)
    rows.write_bytes(rows.read_bytes().replace(b"1 + 1", b"1 + 2"))
    second = an_attempt(tmp_path, number=2)
    assert second.launch("publish").returncode == 0
    assert second.record.reason == "Done"
    assert b"1 + 1" in rows.read_bytes()


def test_an_image_that_computes_another_key_refuses(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, key="curate-" + "0" * 32)
    assert attempt.launch("publish").returncode == 78
    assert attempt.record.reason == "KeyMismatch"
    assert "curate-" + "0" * 32 in attempt.record.message


def test_a_stage_file_may_lie_anywhere(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    mounted = attempt.path.rename(tmp_path / "mounted.yaml")
    command = [word.replace(str(attempt.path), str(mounted)) for word in attempt.command("publish")]
    assert subprocess.run(command, check=False).returncode == 0
    assert attempt.record.artifact is not None


def test_an_attempt_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, prepared=lambda _: None)
    assert attempt.launch("publish").returncode == 78
    assert "acereason_trainer.prepare" in attempt.record.message


@pytest.mark.parametrize("content", ["", "a: [", "run: 5", "\x00"])
def test_a_broken_stage_file_gets_one_sentence(tmp_path: Path, content: str) -> None:
    attempt = an_attempt(tmp_path)
    attempt.path.write_text(content)
    message = tmp_path / "termination-log"
    done = attempt.launch("publish", ACEREASON_TERMINATION_LOG=str(message))
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    assert json.loads(message.read_text())["exitCode"] == 78


def test_a_second_launcher_of_the_same_attempt_is_refused(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    with attempt.launched("stop-on-term") as first:
        attempt.ready()
        second = attempt.launch("publish")
        assert second.returncode == ExitCode.TEMPORARY
        assert str(first.pid) in second.stderr
        assert not (attempt.work_dir / "result.json").exists()
        assert ended_by(first, signal.SIGTERM) == 143


def test_ranks_go_on_from_the_newest_state_of_this_moment(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    assert attempt.file.prepared is not None
    for step in (2, 4):
        write_state(attempt.work_dir, attempt.file.prepared.key, step)
    attempt.launch("publish")
    launched = (attempt.work_dir / "stage.launched.yaml").read_text()
    assert "states/00000004" in launched


def test_the_termination_log_is_the_record(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    message = tmp_path / "termination-log"
    message.touch()
    attempt.launch("exit", "1", ACEREASON_TERMINATION_LOG=str(message))
    assert message.read_bytes() == (attempt.work_dir / "result.json").read_bytes()


def test_a_process_that_a_rank_left_behind_is_gone_with_the_launcher(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path)
    assert attempt.launch("orphan").returncode == 0
    assert not is_alive(int((attempt.work_dir / "orphan").read_text()))


def test_ranks_die_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    attempt = an_attempt(tmp_path, ranks=2)
    with attempt.launched("ignore-term") as launcher:
        pids = [attempt.ready(0), attempt.ready(1)]
        assert ended_by(launcher, signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not any(map(is_alive, pids)), "the ranks to end")
