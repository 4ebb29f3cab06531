"""The rewards benchmark's own decisions: its inputs, its goals, what it calls a disagreement."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.environments import HERE, environment
from benchmarks.rewards_contest import Rounds, percentile
from benchmarks.rewards_goals import GOALS, Goal
from benchmarks.rewards_math import DISAGREEMENTS, GENERATED, OWN, agreement
from benchmarks.rewards_pairs import KINDS, Pair, generated_pairs
from benchmarks.rewards_peer_pairs import pairs_of_math_verify, reference_of, response_of
from benchmarks.rewards_programs import passes, task_cases, trivial_cases
from benchmarks.rewards_rollouts import code_batch, math_batch
from benchmarks.rewards_tables import told

PAIRS = generated_pairs(300)


def test_generated_pairs_are_different_of_every_kind_and_the_same_each_time() -> None:
    assert len({(p.reference, p.answer) for p in PAIRS}) == 300
    assert {p.kind for p in PAIRS} == set(KINDS)
    assert generated_pairs(300) == PAIRS != generated_pairs(300, seed=1)


def test_under_a_third_repeat_the_reference_and_a_third_are_wrong() -> None:
    assert 60 <= sum(p.answer == p.reference for p in PAIRS) < 100
    assert 90 <= sum(not p.right for p in PAIRS) <= 110


def test_no_answer_is_called_right_in_one_pair_and_wrong_in_another() -> None:
    said: dict[tuple[str, str], set[bool | None]] = {}
    for pair in generated_pairs(3_000):
        said.setdefault((pair.reference, pair.answer), set()).add(pair.right)
        assert pair.right or pair.answer != pair.reference, pair
    assert all(len(rights) == 1 for rights in said.values())


@pytest.mark.parametrize(
    ("gold", "reference"),
    [
        pytest.param("$\\frac{1}{2}$", "\\frac{1}{2}", id="what stands between the dollars"),
        pytest.param("\\(\\boxed{6}\\)", "6", id="what stands in the box"),
        pytest.param("$21,16$ or $11$", "21,16, 11", id="several formulas are a list"),
        pytest.param("\\boxed{1} bins and \\boxed{2}", "1, 2", id="several boxes are a list"),
        pytest.param("so \\boxed{4} is it: \\boxed{4}", "4", id="the same box twice is one"),
        pytest.param("He pays $2$ dollars every day: $1$", "1", id="of prose, the last"),
        pytest.param("12000023", "12000023", id="no mathematics around it"),
    ],
)
def test_a_peers_gold_text_becomes_the_answer_alone(gold: str, reference: str) -> None:
    assert reference_of(gold) == reference


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        pytest.param("Thus $\\boxed{5}$.", "Thus $\\boxed{5}$.", id="a box stays"),
        pytest.param("7,425", "$\\boxed{7,425}$", id="an answer alone"),
        pytest.param("It is $x > 5$, I hope.", "It is $\\boxed{x > 5}$, I hope.", id="formula"),
        pytest.param("The size of $AB$ is 120.", "The size of $AB$ is 120.", id="not the answer"),
        pytest.param("the number is not 10", "the number is not 10", id="a sentence"),
        pytest.param("a \\boxed{1} </think> $2$", "$\\boxed{2}$", id="after the reasoning"),
    ],
)
def test_a_peers_prediction_becomes_a_response_with_a_box(prediction: str, text: str) -> None:
    thought, _, rest = response_of(prediction).partition("</think>")
    assert thought.startswith("<think>") and rest.strip() == text.strip()


def test_a_peers_pairs_are_read_from_its_tables(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_all.py").write_text(
        '@pytest.mark.parametrize("gold,pred,expected",'
        ' [("$1$", "$1$", 1), ("$1$", "$1$", 1), (f"{x}", "2", 0), ("$3$", "4", 0)])\n'
        "def test_it(gold, pred, expected): ...\n"
        '@pytest.mark.parametrize("pred,config", [("5", 6)])\ndef test_other(): ...\n'
    )
    found = pairs_of_math_verify(tmp_path)
    assert [(p.reference, p.answer) for p in found] == [
        ("1", "$\\boxed{1}$"),
        ("3", "$\\boxed{4}$"),
    ]


def _pair(answer: str) -> Pair:
    return Pair("1", f"\\boxed{{{answer}}}", None, "kind", answer, "exact")


def test_a_disagreement_without_a_listed_reason_is_named() -> None:
    pairs = [_pair("one"), _pair("uno"), _pair("2")]
    listed = [
        {"reason": "Spanish", "pairs": [{"reference": "1", "answer": "uno", "ours": "wrong"}]},
        {"reason": "gone", "pairs": [{"reference": "1", "answer": "2", "ours": "wrong"}]},
    ]
    found = agreement(pairs, ["format", "wrong", "wrong"], ["correct", "correct", "wrong"], listed)
    assert found["disagreements"] == 2
    assert found["byReason"] == {"Spanish": 1}
    assert found["unlisted"] == [{"reference": "1", "answer": "one", "ours": "wrong"}]
    assert found["listedButAgreed"] == [{"reference": "1", "answer": "2", "ours": "wrong"}]


def test_a_listed_disagreement_counts_only_in_its_direction() -> None:
    entry = {"reason": "?", "pairs": [{"reference": "1", "answer": "one", "ours": "wrong"}]}
    assert agreement([_pair("one")], ["correct"], ["wrong"], [entry])["unlisted"]


def test_every_listed_disagreement_has_a_reason_and_stands_once() -> None:
    listed = json.loads(DISAGREEMENTS.read_text())
    assert all(len(entry["reason"]) > 20 and entry["pairs"] for entry in listed)
    pairs = Counter((p["reference"], p["answer"], p["ours"]) for e in listed for p in e["pairs"])
    assert [p for p, count in pairs.items() if count > 1] == []


@pytest.mark.parametrize(
    ("bounds", "figure", "met"),
    [
        ({"at_least": 10}, 10.0, True),
        ({"at_least": 10}, 9.9, False),
        ({"at_most": 5}, 5.0, True),
        ({"at_most": 5}, 5.1, False),
    ],
)
def test_a_goal_is_met_up_to_its_bound(bounds: dict[str, float], figure: float, met: bool) -> None:
    goal = Goal("code", "ms", lambda code: code["ms"], **bounds)
    judged = goal.judged({"code": {"ms": figure}})
    assert (judged["met"], judged["measured"], judged["goal"]) == (met, figure, "code: ms")


def _a_result(**bombs: float) -> dict[str, Any]:
    """A whole result in which everything is as asked for, but for what `bombs` says."""
    rate = {"median": 50.0, "least": 45.0, "largest": 55.0}
    of_two = {"ours": {"p99Ms": 2.0}, "math-verify": {"p99Ms": 60.0}}
    pairs = {"pairs": 9, "pairsPerSecond": {"ours": rate, "math-verify": rate}, "times": 20.0}
    step = {"rollouts": 64, "seconds": 2.0, "perSecond": 32.0, "mistakes": 0, "verdicts": {}}
    peers = {"math-verify": {"estimatedSeconds": 99.0}}
    return {
        "rounds": 5,
        "math": {
            "sets": {OWN: pairs | of_two, GENERATED: pairs | of_two},
            **of_two,
            "changing": 0,
            "agreement": {"pairs": 18, "disagreements": 3, "byReason": {"?": 2}, "unlisted": [{}]},
            "generatedMistakes": {"ours": []},
        },
        "code": {
            "sets": {"1 test": {"programsPerSecond": {"ours": rate, "prime_code": rate}}},
            "firstMs": 3.0,
            "furtherMs": 2.5,
            "mistakes": {"ours": 0},
        },
        "batch": {
            "prompts": 16,
            "group": 4,
            "cores": 2,
            "math": step | {"peers": peers},
            "code": step | {"peers": peers},
        },
        "bombs": {
            "workers": 1,
            "deadlineSeconds": 0.5,
            "stopped": {"sums": {"verdict": "timeout", "seconds": bombs.get("seconds", 0.6)}},
            "batch": 100,
            "bombs": 5,
            "exact": {
                "p99Ms": {"calm": 1.0, "bombs": 1.5},
                "pairsPerSecond": {"calm": 1000, "bombs": 900},
            },
            "symbolic": {"perSecond": 4.0},
        },
    }


def _missed(result: dict[str, Any]) -> list[str]:
    return [j["goal"] for j in (g.judged(result) for g in GOALS) if not j["met"]]


def test_every_goal_finds_its_figure_in_a_result() -> None:
    unlisted = "math: disagreements with math-verify that are not listed with a reason"
    late = "bombs: seconds beyond the deadline, the worst"
    assert _missed(_a_result()) == [unlisted]
    assert _missed(_a_result(seconds=1.1)) == [unlisted, late]


def test_the_readme_says_what_was_missed_and_how_many_disagreements_have_a_reason() -> None:
    result = _a_result()
    text = " ".join(told(result | {"goals": [g.judged(result) for g in GOALS]}))
    assert "judge 3 differently; 2 of these stand with the reason" in text
    assert f"Missed of {len(GOALS)} goals: math: disagreements" in text
    assert "| exact lane, p99 | 1.00 ms | 1.50 ms |" in text


@pytest.mark.parametrize("right", [True, False])
def test_programs_are_right_or_wrong_as_asked_and_all_different(right: bool) -> None:
    cases = task_cases(20, 10, right=right)
    sources = [c["response"].split("```python\n")[1].split("```")[0] for c in cases]
    assert len(set(sources)) == 20
    for case, source in zip(cases, sources, strict=True):
        assert len(case["tests"]) == 10
        assert passes(source, case["tests"]) == right


def test_trivial_programs_have_as_many_tests_as_asked() -> None:
    assert [len(c["tests"]) for c in trivial_cases(3, 50)] == [50, 50, 50]


def test_a_math_batch_is_groups_of_long_responses_with_drafts_in_them() -> None:
    rollouts = list(math_batch(40, 16))
    assert len(rollouts) == 640
    assert len({id(r.row) for r in rollouts}) == 40, "a group shares its row"
    assert min(len(r.response) for r in rollouts) > 4_000
    assert max(len(r.response) for r in rollouts) > 60_000
    drafted = sum("\\boxed{0}" in r.response.partition("</think>")[0] for r in rollouts)
    assert drafted > 500
    unanswered = [r for r in rollouts if "boxed" not in r.response.rpartition("</think>")[2]]
    assert 10 <= len(unanswered) <= 50 and not any(r.right for r in unanswered)
    assert 200 < sum(bool(r.right) for r in rollouts) < 440
    assert [r.response for r in islice(math_batch(40, 16), 20)] == [
        r.response for r in rollouts[:20]
    ]


def test_a_code_batch_knows_what_is_right_unless_only_running_tells() -> None:
    rollouts = list(code_batch(20, 16))
    assert {r.right for r in rollouts} == {True, False, None}
    for r in rollouts:
        answer = r.response.rpartition("</think>")[2]
        if r.right:
            assert passes(answer.split("```python\n")[1].split("```")[0], r.row["tests"])
        assert ("```python" in answer) or not r.right


def test_verdicts_that_differ_between_rounds_are_seen() -> None:
    assert Rounds(verdicts=[["a", "b", "c"], ["a", "x", "c"]]).changing == [1]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, s) for s in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]


def test_an_environment_is_made_once_for_its_requirements(tmp_path: Path) -> None:
    made = tmp_path / "math_verify"
    made.mkdir()
    (made / "installed.txt").write_text((HERE / "math_verify.txt").read_text())
    assert environment("math_verify", tmp_path) == made / "bin" / "python"
    assert list(made.iterdir()) == [made / "installed.txt"], "nothing was installed again"
