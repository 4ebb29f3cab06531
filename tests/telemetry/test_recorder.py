"""What a running stage writes: curves, progress, gauges, dumps."""

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.config.common import Telemetry
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import Progress, ResultRecord
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.rewards.protocol import Grade, Verdict
from acereason_trainer.rollout.protocol import Completion, SampleRequest
from acereason_trainer.telemetry import recorder as recorder_module
from acereason_trainer.telemetry.exporters import HTTPPort
from acereason_trainer.telemetry.metrics import (
    HEADLINES,
    METRICS,
    PHASES,
    SHARES_OF_TIME,
    is_timing,
)
from acereason_trainer.telemetry.recorder import SECONDS_BETWEEN_LINES, Recorder, read_metrics

from tests.waiting import PATIENCE


def a_recorder(directory: Path, total: int | None = 10, **telemetry: Any) -> Recorder:
    settings = Telemetry(**telemetry)
    return Recorder(directory, total=total, unit="steps", settings=settings, key="sft-1")


def progress_of(directory: Path) -> Progress:
    return Progress.parse_json((directory / "progress.json").read_text())


def test_each_step_is_a_row_with_the_seconds_of_its_phases(tmp_path: Path) -> None:
    with a_recorder(tmp_path) as recorder:
        recorder.start()
        for _ in range(2):
            with recorder.phase("generate"):
                time.sleep(0.002)
        recorder.record(1, {"reward": 0.5})
        recorder.record(2, {"reward": 0.75})
    first, second = read_metrics(recorder.path)
    assert (first["step"], first["reward"]) == (1, 0.5)
    assert 0.004 <= (first["generate_seconds"] or 0) <= (first["step_seconds"] or 0)
    assert second.keys() == {"step", "reward", "step_seconds"}


def test_a_row_is_on_disk_as_soon_as_it_is_recorded(tmp_path: Path) -> None:
    with a_recorder(tmp_path) as recorder:
        recorder.start()
        recorder.record(1, {"loss": 1.0})
        assert len(read_metrics(recorder.path)) == 1


def test_a_resumed_attempt_has_the_whole_curve_and_no_step_twice(tmp_path: Path) -> None:
    with a_recorder(tmp_path / "1") as first:
        first.start()
        for step in (1, 2, 3):
            first.record(step, {"loss": float(step)})
    with a_recorder(tmp_path / "2") as second:
        second.start(2, read_metrics(first.path))
        second.record(3, {"loss": 3.5})
    assert [(r["step"], r["loss"]) for r in read_metrics(second.path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.5),
    ]
    assert second.rows == read_metrics(second.path)


def test_what_is_measured_at_the_end_is_a_row_behind_the_last_step_and_no_step(
    tmp_path: Path,
) -> None:
    port = free_port()
    with a_recorder(tmp_path / "1", metrics_port=port) as recorder:
        recorder.start()
        recorder.record(1, {"reward": 0.5, "validation_accuracy": 0.1})
        recorder.record(2, {"reward": 0.75})
        recorder.record_end({"validation_accuracy": 0.25})
        assert recorder.step == 2
        progress = progress_of(tmp_path / "1")
        assert progress.step == 2
        assert progress.metrics == {"reward": 0.75, "validation_accuracy": 0.25}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            gauges = answer.read().decode().splitlines()
    assert "acereason_stage_step 2.0" in gauges
    assert "acereason_stage_validation_accuracy 0.25" in gauges
    rows = read_metrics(recorder.path)
    assert rows == recorder.rows
    assert rows[2:] == [{"step": 3, "validation_accuracy": 0.25}]
    with a_recorder(tmp_path / "2") as resumed:
        resumed.start(2, rows)
    assert [row["step"] for row in read_metrics(resumed.path)] == [1, 2]


def test_the_log_has_a_plain_line_now_and_then_and_one_for_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(recorder_module, "time", clock)
    with a_recorder(tmp_path, total=1200) as recorder:
        recorder.start(1195)
        for step in range(1196, 1201):
            clock.now += SECONDS_BETWEEN_LINES / 2
            recorder.record(step, {"reward": 0.123456, "grad_norm": 2.0})
    lines = [line[9:].split(", ") for line in capsys.readouterr().err.splitlines()]
    assert [line[0][6:11] for line in lines] == ["1,196", "1,198", "1,200"]
    last = lines[-1]
    assert last[0] == "steps 1,200 of 1,200"
    assert last[1].endswith(" steps/s")
    assert last[2:] == ["reward 0.123"], "the headlines alone"


def test_progress_says_where_the_stage_is_and_how_long_it_will_take(tmp_path: Path) -> None:
    with a_recorder(tmp_path, total=6) as recorder:
        recorder.start(2)
        assert progress_of(tmp_path).seconds_left is None, "nothing to go by yet"
        time.sleep(0.01)
        recorder.record(4, {"reward": 0.123456, "grad_norm": 2.0})
        progress = progress_of(tmp_path)
        assert (progress.step, progress.total, progress.unit) == (4, 6, "steps")
        assert progress.metrics == {"reward": 0.1235}, "headlines only, rounded"
        assert progress.rate is not None
        assert progress.seconds_left == pytest.approx(2 / progress.rate, abs=0.06)
        with recorder.phase("reward_wait"):
            assert progress_of(tmp_path).phase == "reward_wait"
        recorder.heartbeat("save")
        assert progress_of(tmp_path).phase == "save"


def test_what_is_done_of_an_open_step_moves_progress_and_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "SECONDS_BETWEEN_LOOKS", 0.0)
    with a_recorder(tmp_path, total=64) as recorder:
        recorder.start()
        recorder.reached(24)
        recorder.reached(16)  # of another thread, or rank
        progress = progress_of(tmp_path)
        assert progress.step == 24
        assert progress.rate is not None
        assert progress.seconds_left == pytest.approx(40 / progress.rate, abs=0.06)
        assert recorder.step == 0
        recorder.record(32, {"accuracy": 0.5})
        assert progress_of(tmp_path).step == 32
    assert [row["step"] for row in read_metrics(recorder.path)] == [32]


def test_progress_within_a_step_is_written_now_and_then(tmp_path: Path) -> None:
    with a_recorder(tmp_path, total=10**6) as recorder:
        recorder.start()
        file = tmp_path / "progress.json"
        seen = {(recorder.reached(step), file.stat().st_mtime_ns)[1] for step in range(1000)}
    assert len(seen) < 100


def test_a_total_that_is_known_late_is_shown_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(recorder_module, "time", clock)
    with a_recorder(tmp_path, total=None) as recorder:
        recorder.start()
        clock.now = 1.0
        recorder.record(5, {})
        assert progress_of(tmp_path).total is None
        recorder.expect(8)
        recorder.heartbeat()
        assert progress_of(tmp_path).total == 8
        assert progress_of(tmp_path).seconds_left is None, "those so far were of another kind"
        clock.now = 11.0
        recorder.record(6, {})
        assert (progress_of(tmp_path).rate, progress_of(tmp_path).seconds_left) == (0.1, 20.0)


def test_a_number_that_is_none_is_null_in_the_file(tmp_path: Path) -> None:
    with a_recorder(tmp_path) as recorder:
        recorder.start()
        recorder.record(1, {"loss": float("nan"), "reward": float("inf")})
    assert read_metrics(recorder.path)[0]["loss"] is None
    assert "NaN" not in recorder.path.read_text()


def test_names_that_are_not_in_the_table_are_refused(tmp_path: Path) -> None:
    with a_recorder(tmp_path) as recorder:
        recorder.start()
        with pytest.raises(ValueError, match="metrics rewrad are not in"):
            recorder.record(1, {"rewrad": 1.0})
        with pytest.raises(ValueError, match="phase dream is not in"), recorder.phase("dream"):
            pass


def test_a_file_that_a_kill_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("metrics.jsonl", "metrics.jsonl"),
        (".progress.json.tmp", "progress.json"),
        ("rollouts/step-000001.jsonl", "rollouts/step-000001.jsonl"),
    ],
)
def test_a_file_that_finds_no_room_is_named_with_what_to_do(
    tmp_path: Path, file: str, named: str
) -> None:
    """`/dev/full` stands for it: a disk on which every write fails."""
    (tmp_path / "rollouts").mkdir()
    (tmp_path / file).symlink_to("/dev/full")
    completion = Completion(SampleRequest("p", (1, 2), 3, seed=9), (5,), (-0.5,), "length", "so")
    rollouts = [(completion, Grade(Verdict.FORMAT, 0.0))]
    with (
        pytest.raises(StoreFull, match=r"gc --dry-run") as full,
        a_recorder(tmp_path, dump_rollouts_every=1) as recorder,
    ):
        recorder.start()
        recorder.record(1, {"loss": 1.0})
        recorder.dump_rollouts(1, rollouts)
    assert full.value.path == tmp_path / named


def test_metrics_are_served_while_the_stage_runs(tmp_path: Path) -> None:
    port = free_port()
    with a_recorder(tmp_path, metrics_port=port) as recorder:
        recorder.start()
        recorder.record(3, {"reward": 0.25, "loss": float("nan")})
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            text = answer.read().decode()
    assert "acereason_stage_reward 0.25" in text
    assert "acereason_stage_step 3.0" in text
    assert "acereason_stage_steps 10.0" in text
    assert "acereason_stage_loss NaN" in text
    assert 'acereason_stage_info{key="sft-1"} 1.0' in text
    assert f"# HELP acereason_stage_reward {METRICS['reward'].help}" in text
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0, "the port is free again"


def ended(attempt: Path, code: ExitCode, reason: str) -> None:
    attempt.mkdir()
    record = ResultRecord(exit_code=code, reason=reason)
    (attempt / "result.json").write_text(record.model_dump_json(by_alias=True))


def test_why_earlier_attempts_ended_is_served_by_the_one_after_them(tmp_path: Path) -> None:
    ended(tmp_path / "1", ExitCode.TEMPORARY, "LostPeer")
    ended(tmp_path / "2", ExitCode.HEALTH_STOP, "InvariantBroken")
    ended(tmp_path / "3", ExitCode.TEMPORARY, "LostPeer")
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "result.json").write_text('{"exitCode": 7')
    ended(tmp_path / "5", ExitCode.TEMPORARY, "NoProgress")  # what was here before a restart
    port = free_port()
    with a_recorder(tmp_path / "5", metrics_port=port) as recorder:
        recorder.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
    assert sorted(line for line in lines if line.startswith("acereason_stage_earlier_ends{")) == [
        'acereason_stage_earlier_ends{reason="InvariantBroken"} 1.0',
        'acereason_stage_earlier_ends{reason="LostPeer"} 2.0',
    ]


def test_the_step_that_a_stage_is_at_is_served_beside_its_metrics(tmp_path: Path) -> None:
    port = free_port()
    with a_recorder(tmp_path, metrics_port=port) as recorder:
        recorder.start()
        recorder.record(3, {"reward": 0.25})
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/progress", timeout=PATIENCE
        ) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            served = Progress.parse_json(answer.read())
    assert (served.step, served.total, served.metrics["reward"]) == (3, 10, 0.25)
    assert served == Progress.parse_json((tmp_path / "progress.json").read_bytes())


def test_a_stage_that_has_written_no_progress_yet_serves_none(tmp_path: Path) -> None:
    port = free_port()
    served = HTTPPort(port, "sft-1", tmp_path / "progress.json", {})
    try:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=PATIENCE)
    finally:
        served.close()


def test_a_taken_port_is_a_warning_and_no_end_of_the_stage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with a_recorder(tmp_path, metrics_port=port) as recorder:
            recorder.start()
            recorder.record(1, {"reward": 0.25})
            recorder.record(2, {"reward": 0.5})
    (warning,) = [r.getMessage() for r in caplog.records]
    assert f"metricsPort {port} cannot be opened (Address already in use)" in warning
    assert [row["step"] for row in read_metrics(recorder.path)] == [1, 2]


def test_tensorboard_reads_the_event_files_of_a_resumed_stage(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with a_recorder(tmp_path, tensorboard=True) as recorder:
        recorder.start()
        for step in (1, 2):
            recorder.record(step, {"loss": float(step)})
        recorder.record_end({"validation_accuracy": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 2.0)]
    assert [(e.step, e.value) for e in events.Scalars("validation_accuracy")] == [(3, 0.5)]


def test_rollouts_are_dumped_on_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    request = SampleRequest("p", (1, 2), 3, seed=9)
    completion = Completion(request, (5, 6), (-0.5, -1.0), "length", "so é")
    grade = Grade(Verdict.FORMAT, 0.0, detail="no box")
    with a_recorder(tmp_path, dump_rollouts_every=2) as recorder:
        recorder.start()
        for step in (1, 2, 3):
            recorder.dump_rollouts(step, [(completion, grade)])
    (dump,) = (tmp_path / "rollouts").iterdir()
    assert dump.name == "step-000002.jsonl"
    assert json.loads(dump.read_text()) == {
        "promptId": "p", "sample": 3, "verdict": "format", "reward": 0.0, "detail": "no box",
        "finish": "length", "text": "so é", "tokens": [5, 6], "logprobs": [-0.5, -1.0],
    }  # fmt: skip


def test_what_is_not_in_the_table_is_refused(tmp_path: Path) -> None:
    with a_recorder(tmp_path) as recorder:
        recorder.start()
        with pytest.raises(ValueError, match="metrics los are not in telemetry"):
            recorder.record(1, {"los": 1.0})
        with (
            pytest.raises(ValueError, match="phase sleep is not in telemetry"),
            recorder.phase("sleep"),
        ):
            pass


def test_the_table_is_whole() -> None:
    assert all(f"{phase}_seconds" in METRICS for phase in PHASES)
    assert METRICS.keys() >= HEADLINES
    assert all(m.help.endswith(".") for m in METRICS.values())
    timings = {m for m in METRICS if METRICS[m].unit in ("s", "tokens/s")} | SHARES_OF_TIME
    assert timings == {m for m in METRICS if is_timing(m)}
