"""Checked answers on disk: found by their seeds, and what damages them costs drawings alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.evaluation.journal import AnswerJournal, GradedAnswer, attempt_journal
from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.rollout.protocol import SampleRequest

REQUESTS = [SampleRequest("p", (1, 2), n, 2**64 - 1 - n) for n in range(4)]
DRAWN = [
    (
        request,
        GradedAnswer(
            "p",
            request.sample,
            Verdict.CORRECT,
            1.0,
            3,
            truncated=False,
            text="é\u2028\n",
            detail="4",
            passed=(True, False),
        ),
    )
    for request in REQUESTS
]
ANSWERS = {request.seed: answer for request, answer in DRAWN}


def test_an_answer_is_found_by_its_seed_whoever_drew_it(tmp_path: Path) -> None:
    for rank in range(2):
        attempt_journal(tmp_path / "1", rank).keep(DRAWN[rank:3:2])
    second = attempt_journal(tmp_path / "2")
    assert second.find(REQUESTS) == {r.seed: a for r, a in DRAWN[:3]}
    assert second.find(REQUESTS[3:]) == {}
    assert not second.directory.exists(), "it has kept none of its own"


def damaged(file: Path, to: Callable[[bytes], bytes]) -> None:
    file.write_bytes(to(file.read_bytes()))


Damage = Callable[[Path], object]
DAMAGE: list[tuple[str, Damage, list[int]]] = [
    ("no byte reached the disk", lambda f: f.write_bytes(b""), []),
    ("its end did not reach the disk", lambda f: damaged(f, lambda b: b[:-9]), [0, 1]),
    ("the disk filled it with zeros", lambda f: damaged(f, lambda b: bytes(len(b))), []),
    ("a row is no text", lambda f: damaged(f, lambda b: b"\xff\xfe" + b), [1, 2]),
    ("a row has no answer", lambda f: damaged(f, lambda b: b'["' + b[2:18] + b'"]\n'), []),
    ("a row is another's", lambda f: damaged(f, lambda b: b[:20] + b'{"a": 1}]\n'), []),
    ("a row has a field less", lambda f: damaged(f, lambda b: b.replace(b"passed", b"p")), []),
    ("it cannot be read", lambda f: (f.unlink(), f.mkdir()), []),
]


@pytest.mark.parametrize(
    ("damage", "left"), [d for _, *d in DAMAGE], ids=[why for why, *_ in DAMAGE]
)
def test_damaged_answers_count_as_not_there(
    tmp_path: Path, damage: Damage, left: list[int]
) -> None:
    first, second = (tmp_path / n / "answers" for n in "12")
    for directory in (first, second):
        AnswerJournal(directory).keep(DRAWN[:3])
    damage(first / "0.jsonl")
    alone = AnswerJournal(tmp_path / "3/answers", others=[first])
    assert alone.find(REQUESTS) == {DRAWN[n][0].seed: DRAWN[n][1] for n in left}
    for others in ([first, second], [second, first]):
        both = AnswerJournal(tmp_path / "3/answers", others=others)
        assert both.find(REQUESTS[:3]) == {r.seed: a for r, a in DRAWN[:3]}, "another has them"


def test_a_container_that_is_started_again_goes_on_behind_what_a_crash_has_cut_off(
    tmp_path: Path,
) -> None:
    work_dir = tmp_path / "1"
    journal = attempt_journal(work_dir)
    journal.keep(DRAWN[:2])
    file = journal.directory / "0.jsonl"
    damaged(file, lambda b: b[:-9])
    again = attempt_journal(work_dir)
    assert again.find(REQUESTS) == {DRAWN[0][0].seed: DRAWN[0][1]}
    again.keep(DRAWN[1:])  # the first of these is joined to what was cut off
    again.keep(DRAWN[1:2])
    assert attempt_journal(work_dir).find(REQUESTS) == ANSWERS


def test_answers_that_find_no_room_say_so(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "1/answers")
    journal.directory.mkdir(parents=True)
    (journal.directory / "0.jsonl").symlink_to("/dev/full")
    with pytest.raises(StoreFull, match="no room left"):
        journal.keep(DRAWN[:1])
