"""The report: what a reader learns from a run's files, finished or not."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from acereason_trainer.dataset import problem_id
from acereason_trainer.telemetry import report
from acereason_trainer.telemetry.run_record import StageRecord, read_run
from made_up_run import MadeUpRun, results


def page_of(run: Any, tmp_path: Path) -> str:
    out = tmp_path / "report.html"
    assert report.main(["--store", str(run.store), "--run", run.name, "--out", str(out)]) == 0
    return out.read_text()


def test_the_page_needs_no_network_and_no_script(finished_run: Any, tmp_path: Path) -> None:
    page = page_of(finished_run, tmp_path)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "@import" not in page
    assert "url(http" not in page


def test_accuracy_shows_the_model_its_error_and_the_gain(finished_run: Any) -> None:
    record = read_run(finished_run.store, "quick")
    assert [(e.model, e.stage) for e in record.evaluations] == [
        ("sft", "eval-sft"),
        ("math-8k", "eval-rl"),
    ]
    before, after = (e.scores["math"] for e in record.evaluations)
    assert (before.accuracy, before.gain) == (0.25, None)
    assert (after.accuracy, after.gain) == (0.75, 0.5)
    page = report.as_html(record)
    assert "75.0 %" in page
    assert "+50.0" in page
    assert "± 3.0" in page


def test_charts_are_well_formed_and_follow_the_readers_colours(finished_run: Any) -> None:
    page = report.as_html(read_run(finished_run.store, "quick"))
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) >= 8
    ids = [i for chart in charts for i in re.findall(r'\bid="([^"]+)"', chart)]
    assert len(ids) == len(set(ids))
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "var(--ink)" in chart


def test_what_is_measured_at_the_end_of_a_stage_is_no_step_that_took_no_time() -> None:
    steps = [{"step": n, "step_seconds": 2.0, "generate_seconds": 1.5} for n in (1, 2, 3)]
    end = {"step": 4, "validation_accuracy": 0.5}
    area = re.compile(r'id="[^"]*PolyCollection_1">.*? d="([^"]*)"', re.DOTALL)
    corners = []
    for rows in (steps, [*steps, end]):
        found = area.search(report._phases([StageRecord("a", "mathRL", {}, curves=rows)], "") or "")
        assert found is not None
        corners.append(len(re.findall(r"[ML] ", found[1])))
    assert corners[0] == corners[1]


def test_model_output_is_shown_as_text_and_never_as_markup(
    finished_run: Any, tmp_path: Path
) -> None:
    page = page_of(finished_run, tmp_path)
    assert "What is &lt;b&gt;2&lt;/b&gt; + 2?" in page
    assert "&lt;think&gt;" in page


def test_lineage_goes_from_the_last_model_to_the_data(finished_run: Any) -> None:
    lineage = read_run(finished_run.store, "quick").lineage
    assert lineage is not None
    assert lineage.stage == "math-8k"
    assert {(p.role, p.stage) for p in lineage.parents} == {("model", "sft"), ("data", "prompts")}


def test_curation_says_what_was_dropped_with_an_example(finished_run: Any, tmp_path: Path) -> None:
    page = page_of(finished_run, tmp_path)
    assert "1,200 rows in, 900 out" in page
    assert "Prove it." in page


def test_a_running_run_has_a_report_with_the_curves_of_its_newest_attempt(
    finished_run: Any, tmp_path: Path
) -> None:
    run = finished_run
    run.stages = run.stages[:3]
    run.stages.append({
        "name": "math-8k", "state": "Running", "key": "mathRL-" + "0" * 32, "attempts": 10,
        "step": 3, "totalSteps": 40,
    })  # fmt: skip
    run.stages.append({"name": "eval-rl", "state": "Waiting"})
    for attempt, reward in (("9", 0.1), ("10", 0.7)):
        directory = run.store / "work" / "quick" / "math-8k" / attempt
        directory.mkdir(parents=True)
        (directory / "metrics.jsonl").write_text(f'{{"step": 1, "reward": {reward}}}\n{{"st')
    run.write_status("Running")
    record = read_run(run.store, "quick")
    assert [row["reward"] for row in record.stages[3].curves] == [0.7]
    assert "3 of 40" in page_of(run, tmp_path)


def test_a_run_that_has_only_begun_has_a_report(finished_run: Any, tmp_path: Path) -> None:
    finished_run.stages = [{"name": "prompts", "state": "Waiting"}]
    finished_run.write_status("Pending")
    assert "Pending" in page_of(finished_run, tmp_path)


def test_a_failed_run_says_why(finished_run: Any, tmp_path: Path) -> None:
    finished_run.stages[-1] = {
        "name": "eval-rl", "state": "Failed", "lastFailure": {"message": "out of memory"},
    }  # fmt: skip
    finished_run.write_status(
        "Failed",
        conditions=[{"type": "Failed", "status": "True", "message": "stage eval-rl failed"}],
    )
    page = page_of(finished_run, tmp_path)
    assert "stage eval-rl failed" in page
    assert "out of memory" in page


def test_an_artifact_that_is_gone_leaves_the_rest_of_the_report(
    finished_run: Any, tmp_path: Path
) -> None:
    shutil.rmtree(finished_run.store / finished_run.stages[1]["artifact"]["uri"])
    assert "75.0 %" in page_of(finished_run, tmp_path)


def test_json_has_the_same_facts(finished_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--store", str(finished_run.store), "--run", "quick", "--format", "json"]
    assert report.main(options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["evaluations"][1]["scores"]["math"]["gain"] == 0.5
    assert facts["lineage"]["stage"] == "math-8k"


def test_a_run_that_is_not_there_is_one_sentence_with_those_that_are(
    finished_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--store", str(finished_run.store), "--run", "nope"]) == 2
    assert capsys.readouterr().err == (
        f"report: there is no run nope in {finished_run.store}; it holds quick\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (3.21, "3.2 s"), (59.99, "60.0 s"), (185, "3 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations_are_read_at_a_glance(seconds: float | None, text: str) -> None:
    assert report.duration(seconds) == text


@pytest.mark.parametrize(
    ("chosen_by", "flagged"),
    [(["What is 2 + 2?", "What is 3 + 3?"], True), (["What is 5 + 5?"], False)],
    ids=["on a benchmark's problems", "on others"],
)
def test_a_checkpoint_that_was_chosen_on_what_is_reported_is_flagged(
    tmp_path: Path, chosen_by: list[str], flagged: bool
) -> None:
    run = MadeUpRun(tmp_path / "store")
    exam = [{"id": "p1", "problem": "What is 2 + 2?"}, {"id": "p2", "problem": "What is 4 + 4?"}]
    lines = "".join(json.dumps(row) + "\n" for row in exam)
    data = run.add("exam-data", "curate", {"data.jsonl": lines})
    choice = {
        "chosen": ["checkpoint"],
        "step": 4,
        "validations": [],
        "problems": [problem_id(text) for text in chosen_by],
    }
    model = run.add(
        "math-8k", "mathRL", {"w": "rl", "choice.json": json.dumps(choice)}, records=["choice.json"]
    )
    run.add(
        "exam", "evaluate", {"results.json": results({"p1": 1, "p2": 1})}, model=model, data=data
    )
    run.write_status()
    page = page_of(run, tmp_path)
    assert ("Stage math-8k chose its checkpoint by validation" in page) is flagged
    found = read_run(run.store, run.name).chosen_on_reported
    assert [(c.evaluation, c.problems) for c in found] == ([("exam", 1)] if flagged else [])


def test_a_choice_of_another_run_that_the_measured_model_comes_from_is_flagged(
    tmp_path: Path,
) -> None:
    earlier, run = (MadeUpRun(tmp_path / "store", name) for name in ("earlier", "quick"))
    chosen = {"chosen": ["checkpoint"], "problems": [problem_id("What is 2 + 2?")]}
    files = {"w": "rl", "choice.json": json.dumps(chosen)}
    base = earlier.add("math-8k", "mathRL", files, records=["choice.json"])
    earlier.add("aside", "mathRL", {**files, "w": "other"}, records=["choice.json"])
    exam = json.dumps({"id": "p1", "problem": "What is 2 + 2?"})
    data = run.add("exam-data", "curate", {"data.jsonl": f"{exam}\n"})
    model = run.add("sft", "sft", {"w": "sft"}, model=base)
    run.add("exam", "evaluate", {"results.json": results({"p1": 1})}, model=model, data=data)
    run.write_status()
    found = read_run(run.store, run.name).chosen_on_reported
    assert [(c.stage, c.evaluation) for c in found] == [("earlier/math-8k", "exam")]


def test_better_weights_that_were_lost_are_told_of(tmp_path: Path) -> None:
    run = MadeUpRun(tmp_path / "store")
    choice = {
        "chosen": ["checkpoint"],
        "step": 4,
        "lost": [6, 8],
        "validations": [],
        "problems": [],
    }
    files = {"w": "rl", "choice.json": json.dumps(choice)}
    run.add("math-8k", "mathRL", files, records=["choice.json"])
    run.write_status()
    page = page_of(run, tmp_path)
    assert (
        "math-8k published the weights of step 4: those of better validations (after step 6, 8)"
        in page
    )
