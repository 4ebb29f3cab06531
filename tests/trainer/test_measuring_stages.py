"""`evaluate` and `curate` on a real model: what they publish, and that a stop changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.__main__ import carry_out
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import StageFile
from acereason_trainer.stage import StageContext, StopFlag

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


class StopsAtTheNthLook(StopFlag):
    """A SIGTERM that arrives at a chosen moment."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def check(self) -> None:
        self._looks -= 1
        if self._looks < 0:
            self._event.set()
        super().check()


def a_stage(store: Path, tiny_model: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A stage file with its inputs imported, ready for attempt 1."""
    source = store / "rows"
    source.mkdir(parents=True)
    math = [{"problem": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(8)]
    proof = {"problem": "Prove that 1 + 1 is 2.", "answer": "proof"}
    code = [
        {"problem": f"Print {n}.", "tests": [{"input": "", "output": str(n)}]} for n in range(3)
    ]
    curated = [*math, math[0], proof, {"problem": "How much is 50 + 50?", "answer": "100"}]
    rows = {"math.jsonl": math, "code.jsonl": code}
    if "curate" in settings:
        rows = {"all.jsonl": curated}
    for name, some in rows.items():
        (source / name).write_text("".join(json.dumps(row) + "\n" for row in some))
    (store / "held-out.jsonl").write_text(json.dumps(curated[-1]))
    shelves = DirectoryStore(store)
    inputs: dict[str, Any] = {
        "model": shelves.import_path(tiny_model, "model").dump(),
        "data": shelves.import_path(source, "data").dump(),
    }
    if "curate" in settings:
        inputs["heldOut"] = [shelves.import_path(store / "held-out.jsonl", "data").dump()]
    kind = next(iter(settings))
    return {
        "run": "run", "stage": "measure", "attempt": 1, "store": str(store), "settings": settings,
        "prepared": {"key": f"{kind}-{'0' * 32}", "inputs": inputs},
    }  # fmt: skip


def attempt(stage: dict[str, Any], stop: StopFlag) -> int:
    file = StageFile.parse(stage)
    assert file.prepared is not None
    work_dir = Path(file.store) / file.work_dir
    work_dir.mkdir(parents=True)
    return carry_out(StageContext(file, file.prepared, Path(file.store), work_dir, stop))


def published(stage: dict[str, Any]) -> tuple[str, Path]:
    """Digest and directory of the stage's artifact."""
    store = Path(stage["store"])
    artifact = DirectoryStore(store).lookup(stage["prepared"]["key"])
    assert artifact is not None
    return artifact.digest, store / artifact.uri


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
    straight = a_stage(tmp_path / "straight", tiny_model, settings)
    assert attempt(straight, StopFlag()) == ExitCode.DONE
    stopped = a_stage(tmp_path / "stopped", tiny_model, settings)
    codes = until_done(stopped, looks)
    assert codes[-1] == ExitCode.DONE
    assert len(codes) >= 3, "the test needs stops in the middle"
    assert published(stopped)[0] == published(straight)[0]


def test_an_evaluation_publishes_figures_samples_and_curves(
    tmp_path: Path, tiny_model: Path
) -> None:
    stage = a_stage(tmp_path / "store", tiny_model, EVALUATE)
    assert attempt(stage, StopFlag()) == ExitCode.DONE
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
    stage = a_stage(tmp_path / "store", tiny_model, CURATE)
    assert attempt(stage, StopFlag()) == ExitCode.DONE
    _, directory = published(stage)
    rows = [json.loads(line) for line in (directory / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert all((r["pass_count"], r["samples"], r["pass_rate"]) == (0, 2, 0.0) for r in rows)
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
    stage = a_stage(tmp_path / "store", tiny_model, {kind: {**settings[kind], **change}})
    assert attempt(stage, StopFlag()) == ExitCode.BAD_CONFIGURATION
    failure = tmp_path / "store" / "work" / "run" / "measure" / "1" / "rank-0.failure.json"
    assert said in json.loads(failure.read_text())["message"]


def test_a_set_with_one_problem_twice_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    settings = {"evaluate": {"sets": [{"name": "x", "file": "all.jsonl"}], **SAMPLED}}
    stage = a_stage(tmp_path / "store", tiny_model, CURATE)
    stage["settings"] = settings
    assert attempt(stage, StopFlag()) == ExitCode.BAD_CONFIGURATION
    failure = tmp_path / "store" / "work" / "run" / "measure" / "1" / "rank-0.failure.json"
    message = json.loads(failure.read_text())["message"]
    assert "all.jsonl line 9 has the id" in message
    assert "of all.jsonl line 1; rows need different ids" in message
