"""A journal gives back what was put in, or nothing: what damaged it costs a drawing, no attempt."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from acereason_trainer.rollout.journal import Journal, attempt_journal
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams

PARAMS = SamplingParams(1.0, 1.0, 8)
REQUESTS = [SampleRequest("p", (1, 2), n, seed) for n, seed in enumerate((7, 8, 9))]
DRAWN = [
    Completion(r, (4, 5, r.sample), (-0.1, -1e-17, -2.5), "stop", f"é {r.sample}") for r in REQUESTS
]

Damage = Callable[[Path], object]
DAMAGE: list[tuple[str, Damage]] = [
    ("no byte reached the disk", lambda f: f.write_bytes(b"")),
    ("its end did not reach the disk", lambda f: f.write_bytes(f.read_bytes()[:-9])),
    ("the disk filled it with zeros", lambda f: f.write_bytes(bytes(len(f.read_bytes())))),
    ("it is no text", lambda f: f.write_bytes(b"\xff\xfe" + f.read_bytes())),
    ("a row is missing", lambda f: f.write_text(json.dumps(json.loads(f.read_text())[1:]))),
    ("a row is too many", lambda f: f.write_text(json.dumps([*json.loads(f.read_text()), 1]))),
    ("its rows are others'", lambda f: f.write_text(json.dumps([{"a": 1}] * 3))),
    ("it holds no rows", lambda f: f.write_text("3")),
    ("it cannot be read", lambda f: (f.unlink(), f.mkdir())),
]


@pytest.mark.parametrize("damage", [d for _, d in DAMAGE], ids=[why for why, _ in DAMAGE])
def test_a_damaged_batch_of_rollouts_counts_as_not_there(
    tmp_path: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    first = Journal(tmp_path / "1")
    first.keep(3, PARAMS, DRAWN)
    (file,) = (tmp_path / "1").iterdir()
    damage(file)
    second = Journal(tmp_path / "2", earlier=[tmp_path / "1"])
    assert second.find(3, PARAMS, REQUESTS) is None
    (warning,) = [r.getMessage() for r in caplog.records]
    assert f"{file} is damaged" in warning
    second.keep(3, PARAMS, DRAWN)
    assert second.find(3, PARAMS, REQUESTS) == DRAWN
    assert len(caplog.records) == 1, "a good file is found before the damaged one is looked at"


def test_a_damaged_file_of_ones_own_is_replaced(tmp_path: Path) -> None:
    Journal(tmp_path / "1").keep(3, PARAMS, DRAWN)
    own = Journal(tmp_path / "2", earlier=[tmp_path / "1"])
    own.keep(3, PARAMS, DRAWN)
    (file,) = (tmp_path / "2").iterdir()
    file.write_bytes(b"")
    assert own.find(3, PARAMS, REQUESTS) == DRAWN
    assert Journal(tmp_path / "2").find(3, PARAMS, REQUESTS) == DRAWN


def test_what_an_earlier_attempt_drew_becomes_ones_own(tmp_path: Path) -> None:
    Journal(tmp_path / "1").keep(3, PARAMS, DRAWN)
    assert Journal(tmp_path / "2", earlier=[tmp_path / "1"]).find(3, PARAMS, REQUESTS) == DRAWN
    assert Journal(tmp_path / "3", earlier=[tmp_path / "2"]).find(3, PARAMS, REQUESTS) == DRAWN


def test_batches_of_all_attempts_are_found_also_of_one_that_left_no_state(tmp_path: Path) -> None:
    Journal(tmp_path / "1" / "journal").keep(3, PARAMS, DRAWN)
    Journal(tmp_path / "2" / "journal").keep(4, PARAMS, DRAWN)
    third = attempt_journal(tmp_path / "3")
    assert third.find(3, PARAMS, REQUESTS) == DRAWN
    assert third.find(4, PARAMS, REQUESTS) == DRAWN
    assert third.find(5, PARAMS, REQUESTS) is None
    assert len(third.batches()) == 2, "they are its own now, to be forgotten"


LONG = [Completion(r, (r.seed,) * 5000, (-0.5,) * 5000, "stop", "") for r in REQUESTS]
WRITES_FOR_EVER = """
import sys
from pathlib import Path
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
requests = [SampleRequest("p", (1, 2), n, seed) for n, seed in enumerate((7, 8, 9))]
drawn = [Completion(r, (r.seed,) * 5000, (-0.5,) * 5000, "stop", "") for r in requests]
while True:
    Journal(Path(sys.argv[1])).keep(3, SamplingParams(1.0, 1.0, 8), drawn)
    print("written", flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_whole_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "journal")]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
            writer.kill()
        assert Journal(tmp_path / "journal").find(3, PARAMS, REQUESTS) == LONG
