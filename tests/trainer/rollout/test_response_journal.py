"""Finished responses are found again one by one, whoever wrote them."""

from pathlib import Path

import pytest
from acereason_trainer.rollout.journal import Journal, attempt_journal
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.response_journal import ResponseJournal

PARAMS = SamplingParams(0.8, 1.0, 16)


def a_response(sample: int) -> Completion:
    request = SampleRequest("p", (5, 6), sample, seed=100 + sample)
    return Completion(request, (7, 1), (-0.5, -0.25), "stop", f"text {sample}")


RESPONSES = [a_response(sample) for sample in range(4)]
REQUESTS = [c.request for c in RESPONSES]


def journals(
    directory: Path, *earlier: Path, weights: str = "those-of-step-3"
) -> list[ResponseJournal]:
    """Of two ranks, after a push."""
    both = [ResponseJournal(Journal(directory, earlier), rank) for rank in range(2)]
    for journal in both:
        journal.drawn_from(weights, journal.earlier(weights))
    return both


def test_a_later_attempt_finds_what_each_rank_wrote(tmp_path: Path) -> None:
    first, second = journals(tmp_path / "1")
    first.keep(3, PARAMS, RESPONSES[:1])
    second.keep(3, PARAMS, RESPONSES[2:3])
    first.keep(3, PARAMS, RESPONSES[3:])
    later = journals(tmp_path / "2", tmp_path / "1")
    for journal in later:
        found = journal.find(3, PARAMS, REQUESTS)
        assert found == [RESPONSES[0], *RESPONSES[2:]]
        assert all(c.recalled for c in found), "nobody drew them now"


def test_responses_of_other_weights_or_parameters_are_others(tmp_path: Path) -> None:
    journals(tmp_path / "1")[0].keep(3, PARAMS, RESPONSES)
    for version, params in ((4, PARAMS), (3, SamplingParams(0.9, 1.0, 16))):
        later, _ = journals(tmp_path / "2", tmp_path / "1")
        assert later.find(version, params, REQUESTS) == []


def test_responses_that_other_weights_of_the_same_step_have_drawn_are_not_taken(
    tmp_path: Path,
) -> None:
    """As after a crash, when the step before was drawn again."""
    journals(tmp_path / "1")[0].keep(3, PARAMS, RESPONSES)
    later, _ = journals(tmp_path / "2", tmp_path / "1", weights="others-of-step-3")
    assert later.find(3, PARAMS, REQUESTS) == []
    later.drawn_from("those-of-step-3", later.earlier("those-of-step-3"))
    assert later.find(3, PARAMS, REQUESTS) == RESPONSES


def test_responses_of_an_attempt_that_left_no_state_are_found(tmp_path: Path) -> None:
    for attempt in ("1", "2"):
        journals(tmp_path / attempt / "journal")[0].keep(3, PARAMS, RESPONSES[int(attempt) :][:1])
    third = ResponseJournal(attempt_journal(tmp_path / "3"), 0)
    third.drawn_from("those-of-step-3", third.earlier("those-of-step-3"))
    assert third.find(3, PARAMS, REQUESTS) == RESPONSES[1:3]


def test_nothing_is_found_or_kept_before_anybody_knows_of_which_weights(tmp_path: Path) -> None:
    journal = ResponseJournal(Journal(tmp_path / "1"), 0)
    with pytest.raises(RuntimeError, match="before weights were pushed"):
        journal.find(3, PARAMS, REQUESTS)
    with pytest.raises(RuntimeError, match="before weights were pushed"):
        journal.keep(3, PARAMS, RESPONSES)


def test_responses_that_their_attempt_forgets_meanwhile_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains on where nobody could end it, and goes on to a state of a later step."""
    journals(tmp_path / "1")[0].keep(3, PARAMS, RESPONSES[:2])
    journals(tmp_path / "2")[1].keep(3, PARAMS, RESPONSES[2:])
    disk = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.parent.name == "1":
            path.unlink()
        return disk(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    later, _ = journals(tmp_path / "3", tmp_path / "1", tmp_path / "2")
    assert later.find(3, PARAMS, REQUESTS) == RESPONSES[2:]


def test_a_line_that_a_crash_has_cut_off_costs_itself_alone(tmp_path: Path) -> None:
    journals(tmp_path / "1")[0].keep(3, PARAMS, RESPONSES)
    (path,) = (tmp_path / "1").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    later, _ = journals(tmp_path / "2", tmp_path / "1")
    assert later.find(3, PARAMS, REQUESTS) == RESPONSES[:-1]


def test_what_was_drawn_from_forgotten_weights_goes_and_the_rest_stays(tmp_path: Path) -> None:
    journal, _ = journals(tmp_path / "1")
    journal.keep(3, PARAMS, RESPONSES)
    needless = journal.journal.batches()
    journal.drawn_from("those-of-step-4", journal.earlier("those-of-step-4"))
    journal.keep(4, PARAMS, RESPONSES[:1])
    journal.journal.forget(needless)
    later, _ = journals(tmp_path / "2", tmp_path / "1")
    assert later.find(3, PARAMS, REQUESTS) == []
    later.drawn_from("those-of-step-4", later.earlier("those-of-step-4"))
    assert later.find(4, PARAMS, REQUESTS) == RESPONSES[:1]


@pytest.mark.parametrize(
    "line",
    ["5", '["name"]', '[["unhashable"], [[1], [0.0], "stop", "x"]]', '["name", [[1], [0.0]]]'],
)
def test_a_line_that_is_no_response_counts_as_not_there(tmp_path: Path, line: str) -> None:
    journals(tmp_path / "1")[0].keep(3, PARAMS, RESPONSES[:1])
    (file,) = (tmp_path / "1").iterdir()
    file.write_text(line + "\n" + file.read_text())
    later, _ = journals(tmp_path / "2", tmp_path / "1")
    assert later.find(3, PARAMS, REQUESTS) == RESPONSES[:1]
