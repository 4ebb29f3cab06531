"""The trainer's benchmark's own decisions: turns, intervals, goals, and what is told of them."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contest import Contestant, in_turns
from benchmarks.intervals import paired_difference, quartiles
from benchmarks.trainer_figures import goals_of, missed, told
from benchmarks.trainer_sft import LAYOUTS, MODES, best_without_cuts, figures_of

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
STEPS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from turns import Turns
turns = Turns()
turns.over()
print("what a library prints is no answer")
while True:
    turns.wait()
    turns.over(at=time.monotonic(), name=sys.argv[2])
"""
DIES = "import sys; sys.exit('no such model')"


def contestant(name: str, program: str, tmp_path: Path) -> Contestant:
    command = [sys.executable, "-c", program, str(PEERS), name]
    return Contestant(name, command, tmp_path / f"{name}.log", {})


def test_contestants_step_one_after_the_other_and_begin_in_turn(tmp_path: Path) -> None:
    done = in_turns([contestant(name, STEPS, tmp_path) for name in ("a", "b")], 3)
    steps = sorted((step["at"], name) for name, answers in done.items() for step in answers)
    assert [name for _, name in steps] == ["a", "b", "b", "a", "a", "b"]


def test_a_contestant_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"b ended(.|\n)*no such model"):
        in_turns([contestant("a", STEPS, tmp_path), contestant("b", DIES, tmp_path)], 1)


def test_one_step_that_was_held_up_moves_no_figure() -> None:
    assert quartiles([1.0, 1.1, 1.2, 1.3, 60.0]) == {"median": 1.2, "low": 1.1, "high": 1.3}
    assert quartiles([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}


def test_a_difference_is_taken_seed_by_seed() -> None:
    # What the seeds differ by is far more than what the arms do.
    found = paired_difference([0.1, 0.5, 0.9], [0.2, 0.6, 1.0])
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-9)
    assert found.is_clear


def test_an_interval_is_students_t() -> None:
    found = paired_difference([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    assert not paired_difference([0.0] * 3, [-1.0, 2.0, 3.0]).is_clear


def spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


def a_result(*, times: float = 2.5, low: float = -0.02, sft: float = 1.3) -> dict[str, Any]:
    """What a run measures, reduced to what goals and tables read."""
    modes = {mode: spread(sft) for mode in ("padded", "padded, by length", "wrapped", "bfd")}
    modes["bfd, row by row"] = spread(sft)
    rates = {"ours": spread(1000), **{mode: spread(1000 / sft) for mode in modes}}
    result: dict[str, Any] = {
        "grpo": {
            "0.6M": {
                "times": {"ours": spread(times)},
                "stepSeconds": {"ours": spread(1.0), "TRL": spread(times)},
                "tokensPerStep": {"ours": 9000, "TRL": 9100},
                "finalReward": {"ours": [0.8, 0.9], "TRL": [0.8, 0.9]},
                "rewardDifference": {"ours": {"mean": 0.0, "low": low, "high": 0.05}},
                "phases": {
                    "ours": {
                        "generate_seconds": 0.7,
                        "reward_wait_seconds": 0.0,
                        "train_seconds": 0.3,
                        "push_seconds": 1e-5,
                    }
                },
            }
        },
        "sft": {"0.6M": {"times": {"ours": modes}, "tokensPerSecond": rates}},
        "loss": {
            "tokens": 4096,
            "vocabulary": 151936,
            "peakMib": {"ours": 1200, "TRL": 1300, "plain torch": 8000},
            "seconds": {"ours": 15.0, "TRL": 37.0, "plain torch": 14.0},
        },
        "checkpoint": {
            "mib": 1024,
            "shards": 4,
            "times": {"verify": spread(1.5)},
            "megabytesPerSecond": {"publish": spread(400), "verify": spread(600)},
        },
        "resume": {
            "kills": 4,
            "secondsToNextStep": spread(15.0),
            "importSeconds": spread(9.0),
        },
    }
    result["goals"] = goals_of(result)
    return result


def a_turn(seconds: float, tokens: int) -> dict[str, Any]:
    """Of ours: its own clock says nothing, only how many tokens there were."""
    told = {"tokens_per_second": tokens / 0.5, "train_seconds": 0.5, "padding_share": 0.02}
    return {"seconds": seconds, "metrics": told}


def test_rates_are_compared_turn_by_turn_without_the_first() -> None:
    slow_then_steady = [9.0, 1.0, 2.0, 1.0]  # the machine is held up in the third turn
    done: dict[str, Any] = {arm: [a_turn(s, 4000) for s in slow_then_steady] for arm in LAYOUTS}
    done |= {m: [{"seconds": 2 * s, "tokens": 4000} for s in slow_then_steady] for m in MODES}
    done["bfd"] = [{"seconds": s, "tokens": 3000} for s in slow_then_steady]
    found = figures_of(done)
    assert found["tokensPerSecond"]["ours"]["median"] == 4000
    assert found["times"]["ours"]["wrapped"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert best_without_cuts(found) == "bfd"
    assert found["times"]["ours"]["bfd"]["median"] == pytest.approx(4 / 3, abs=1e-4)


def test_all_goals_can_be_met() -> None:
    assert missed(a_result()["goals"]) == []
    assert told(a_result())[-1] == "Every goal is met."


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        ({"times": 1.5}, ["0.6M, ours: half of TRL's time: 1.5, must be at least 2"]),
        ({"low": 0.01}, ["interval: 0.01, must be at most 0"]),
        ({"sft": 1.1}, ["best mode that cuts no document: 1.1, must be at least 1.2"]),
    ],
    ids=["faster, but not by half", "another reward", "packing gains too little"],
)
def test_what_is_not_reached_is_said(changed: dict[str, float], sentences: list[str]) -> None:
    found = missed(a_result(**changed)["goals"])
    assert len(found) == len(sentences)
    assert all(sentence in f for sentence, f in zip(sentences, found, strict=True))


def test_every_section_that_was_measured_is_told() -> None:
    page = "\n".join(told(a_result()))
    for figure in ("2.50 times ours", "1,000 ±0 %", "1,200 MiB", "400 ±0 %", "15.0 s", "700 ms"):
        assert figure in page
    assert "MFU" not in page, "there was no GPU"
