"""Paired comparison of two evaluations, from numbers and from the command line."""

import json
import random
from pathlib import Path

import pytest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.evaluation.__main__ import main
from acereason_trainer.evaluation.bootstrap import paired_interval, per_problem_differences
from acereason_trainer.evaluation.results import EvaluationResult, SetResult

from tests.artifacts.artifact_builders import published


def a_set(correct: dict[str, int], name: str = "math", samples: int = 4) -> SetResult:
    return SetResult(
        name=name,
        problems=len(correct),
        samples=samples,
        accuracy=sum(correct.values()) / samples / len(correct),
        truncated_share=0,
        mean_tokens=1,
        verdicts={},
        correct=correct,
    )


def test_the_interval_agrees_with_the_normal_one_on_many_problems() -> None:
    draw = random.Random(0)
    differences = [draw.gauss(0.05, 0.3) for _ in range(900)]
    interval = paired_interval(differences)
    half = 1.96 * 0.3 / 30
    assert interval.low == pytest.approx(interval.difference - half, abs=0.002)
    assert interval.high == pytest.approx(interval.difference + half, abs=0.002)
    assert interval.problems == 900


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(1)
    held = 0
    for _ in range(200):
        sample = [draw.choice([-0.5, 0.0, 0.5, 1.0]) for _ in range(60)]
        interval = paired_interval(sample, resamples=400)
        held += interval.low <= 0.25 <= interval.high
    assert 180 <= held <= 199


def test_the_same_results_give_the_same_interval() -> None:
    assert paired_interval([0.5, -0.25, 0.0]) == paired_interval([0.5, -0.25, 0.0])


def test_no_difference_has_no_width() -> None:
    interval = paired_interval([0.25] * 10)
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_problems_are_paired_by_id_not_by_order() -> None:
    a, b = a_set({"p": 0, "q": 4}), a_set({"q": 4, "p": 2})
    assert per_problem_differences(a, b) == [0.5, 0.0]


def test_different_problems_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 problems are in only one of the two results"):
        per_problem_differences(a_set({"p": 1, "q": 1}), a_set({"p": 1, "r": 1}))


def write(path: Path, *sets: SetResult) -> str:
    path.mkdir()
    (path / "results.json").write_text(json.dumps(EvaluationResult(sets=list(sets)).dump()))
    return str(path)


def test_the_command_line_says_it_in_one_line_per_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a", a_set({"p": 1, "q": 1}), a_set({"p": 1}, "code"))
    b = write(tmp_path / "b", a_set({"p": 3, "q": 3}))
    assert main(["compare", a, b]) == 0
    assert capsys.readouterr().out == (
        "math: 25.0% -> 75.0%, +50.0 points [+50.0, +50.0] (95% paired bootstrap, n = 2)\n"
    )
    assert main(["compare", a, b, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["math"]["low"] == 0.5


def test_stages_of_a_store_are_named_by_run_and_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = DirectoryStore(tmp_path)
    for number, (stage, correct) in enumerate({"sft-eval": 1, "rl-eval": 3}.items()):
        result = EvaluationResult(sets=[a_set({"p": correct})])
        files = {"results.json": json.dumps(result.dump()).encode()}
        published(store, number, files, stage=stage, kind="evaluation")
    assert main(["compare", "run/sft-eval", "run/rl-eval", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("math: 25.0% -> 75.0%")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere/results.json does not exist"),
        (["run/eval"], "run/eval does not exist, and no store is named"),
        (["run/eval", "--store", "."], "run/eval is no file, and in the store .: "),
        (["b", "--set", "aime"], "no set aime is in both results; both have: math"),
        (["c"], "no set at all is in both results"),
        (["d"], "is not an evaluation's results.json"),
    ],
)
def test_a_wrong_input_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a", a_set({"p": 1}))
    write(tmp_path / "b", a_set({"p": 1}))
    write(tmp_path / "c", a_set({"p": 1}, "code"))
    (tmp_path / "d").write_text("{}")
    if arguments[0] == "nowhere":
        Path("nowhere").mkdir()
    assert main(["compare", "a", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
