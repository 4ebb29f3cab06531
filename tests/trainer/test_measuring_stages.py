"""`evaluate` and `curate` on a real model: what they publish, and that a stop changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode

from tests.stage_attempts import (
    StopsAtTheNthLook,
    a_stage,
    attempt,
    failure,
    published,
    write_rows,
)
from tests.trainer.taught import BARE

SAMPLED = {
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "verifier": {"workers": 1},
}
EVALUATE = {
    "evaluate": {
        "sets": [
            {"name": "math", "file": "math.jsonl", "samples": 3, "maxProblems": 4},
            {"name": "code", "file": "code.jsonl", "samples": 2},
        ],
        "passAt": [2],
        "maxResponseTokens": 12,
        "sequencesPerBatch": 4,
        "keepSamples": 3,
        **SAMPLED,
    }
}
CURATE = {
    "curate": {
        "passRate": {
            "samples": 2, "maxCorrect": 0, "promptsPerBatch": 3, "maxResponseTokens": 12, **SAMPLED,
        },
        "rules": {"minProblemCharacters": 5},
        "maxRows": 6,
    }
}  # fmt: skip


def measured(store: Path, tiny_model: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Attempt 1 of a stage that measures the tiny model."""
    source = store / "rows"
    math = [{"problem": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(8)]
    proof = {"problem": "Prove that 1 + 1 is 2.", "answer": "proof"}
    code = [
        {"problem": f"Print {n}.", "tests": [{"input": "", "output": str(n)}]} for n in range(3)
    ]
    curated = [*math, math[0], proof, {"problem": "How much is 50 + 50?", "answer": "100"}]
    if "curate" in settings:
        write_rows(source / "all.jsonl", curated)
        held_out = write_rows(store / "held-out.jsonl", curated[-1:])
        return a_stage(store, settings, model=tiny_model, data=source, heldOut=held_out)
    write_rows(source / "math.jsonl", math)
    write_rows(source / "code.jsonl", code)
    return a_stage(store, settings, model=tiny_model, data=source)


def kept_answers(work_dir: Path, rank: int | str = "*") -> list[str]:
    """Names of the answers that a rank, or any, has kept in an attempt."""
    files = sorted((work_dir / "answers").glob(f"{rank}.jsonl"))
    return [json.loads(line)[0] for file in files for line in file.read_text().splitlines()]


def until_done(stage: dict[str, Any], looks: int) -> list[int]:
    """Exit codes of attempts that are each stopped after so many looks at the flag."""
    codes: list[int] = []
    while not codes or codes[-1] == ExitCode.STOPPED:
        codes.append(attempt(stage, StopsAtTheNthLook(looks)))
        stage["attempt"] += 1
        assert len(codes) < 20, "each attempt must get further than the one before"
    return codes


@pytest.mark.parametrize(("settings", "looks"), [(EVALUATE, 30), (CURATE, 15)])
def test_a_measurement_stopped_again_and_again_ends_with_the_same_digest(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], looks: int
) -> None:
    straight = measured(tmp_path / "straight", tiny_model, settings)
    assert attempt(straight) == ExitCode.DONE
    stopped = measured(tmp_path / "stopped", tiny_model, settings)
    codes = until_done(stopped, looks)
    assert codes[-1] == ExitCode.DONE
    assert len(codes) >= 3, "the test needs stops in the middle"
    assert published(stopped)[0] == published(straight)[0]


def test_an_evaluation_publishes_figures_samples_and_curves(
    tmp_path: Path, tiny_model: Path
) -> None:
    stage = measured(tmp_path / "store", tiny_model, EVALUATE)
    assert attempt(stage) == ExitCode.DONE
    _, directory = published(stage)
    math, code = json.loads((directory / "results.json").read_text())["sets"]
    assert (math["problems"], math["samples"], len(math["correct"])) == (4, 3, 4)
    assert sum(math["verdicts"].values()) == 12
    assert (code["problems"], sum(code["verdicts"].values())) == (3, 6)
    samples = [json.loads(line) for line in (directory / "samples.jsonl").read_text().splitlines()]
    assert [s["set"] for s in samples] == ["math"] * 3 + ["code"] * 3
    assert samples[0]["prompt"].endswith("<think>\n")
    manifest = DirectoryStore(tmp_path / "store").manifest(f"artifacts/{directory.name}")
    assert {f.path for f in manifest.files if f.record} == {"metrics.jsonl", "samples.jsonl"}
    assert manifest.metrics["problems/code"] == 3
    assert manifest.step == 18


def test_curation_writes_pass_rates_and_counts_that_add_up(
    tmp_path: Path, tiny_model: Path
) -> None:
    stage = measured(tmp_path / "store", tiny_model, CURATE)
    assert attempt(stage) == ExitCode.DONE
    _, directory = published(stage)
    rows = [json.loads(line) for line in (directory / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert all((r["pass_count"], r["samples"], r["pass_rate"]) == (0, 2, 0.0) for r in rows)
    assert all(1 <= r["response_tokens"] <= 12 for r in rows)
    report = json.loads((directory / "report.json").read_text())
    dropped = {s["name"]: s["dropped"] for s in report["steps"]}
    assert dropped == {
        "rules": {"proofs": 1},
        "duplicates": {"normalized": 1},
        "decontamination": {"overlap": 1},
        "passRate": {},
        "maxRows": {"maxRows": 2},
    }
    flow = [report["in"], *(s["out"] for s in report["steps"])]
    assert flow == [11, 10, 9, 8, 8, 6]
    assert report["passCounts"] == {"0": 8}


def test_a_refilter_keeps_what_the_model_solves_now_and_then(
    tmp_path: Path, taught_model: Path
) -> None:
    band = {"samples": 2, "minCorrect": 1, "maxCorrect": 1, "maxResponseTokens": 12}
    settings = {"passRate": {**band, **SAMPLED, "prompting": BARE}, "deduplicate": "none",
                "rules": {"minProblemCharacters": 0}}  # fmt: skip
    rows = [{"problem": f"m{n}", "answer": "1"} for n in range(20)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    stage = a_stage(tmp_path / "store", {"curate": settings}, model=taught_model, data=data)
    assert attempt(stage) == ExitCode.DONE
    _, directory = published(stage)
    report = json.loads((directory / "report.json").read_text())
    (step,) = [s for s in report["steps"] if s["name"] == "passRate"]
    never, once, always = (report["passCounts"][n] for n in "012")
    assert step["dropped"] == {"minCorrect": never, "maxCorrect": always}
    assert {r: e["detail"] for r, e in step["examples"].items()} == {
        "minCorrect": "0 of 2 right",
        "maxCorrect": "2 of 2 right",
    }
    kept = [json.loads(line) for line in (directory / "data.jsonl").read_text().splitlines()]
    assert never + once + always == 20
    assert [(r["pass_count"], r["pass_rate"]) for r in kept] == [(1, 0.5)] * once


WRONG = [
    (EVALUATE, {"sets": [{"name": "x", "file": "x.jsonl"}]},
     "there is no file x.jsonl in the data; it holds code.jsonl, math.jsonl"),
    (EVALUATE, {"sets": [{"name": "x", "file": "../rows/math.jsonl"}]}, "there is no file ../rows"),
    (CURATE, {"domain": "code"}, "leaves no row: 11 rows in; rules dropped 11 (domain 11)"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "change", "said"), WRONG)
def test_what_cannot_work_is_one_sentence_and_never_retried(
    tmp_path: Path, tiny_model: Path, settings: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    kind = next(iter(settings))
    stage = measured(tmp_path / "store", tiny_model, {kind: {**settings[kind], **change}})
    assert attempt(stage) == ExitCode.BAD_CONFIGURATION
    assert said in failure(stage)["message"]


def test_a_set_with_one_problem_twice_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    settings = {"evaluate": {"sets": [{"name": "x", "file": "all.jsonl"}], **SAMPLED}}
    stage = measured(tmp_path / "store", tiny_model, CURATE)
    stage["settings"] = settings
    assert attempt(stage) == ExitCode.BAD_CONFIGURATION
    message = failure(stage)["message"]
    assert "all.jsonl line 9 has the id" in message
    assert "of all.jsonl line 1; rows need different ids" in message
