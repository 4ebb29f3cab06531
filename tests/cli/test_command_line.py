"""Wrong words on the command line: one sentence, the right exit code, never a traceback."""

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cli import run_files
from acereason_operator.cli.main import main
from acereason_operator.local import source_files
from acereason_operator.local.run_directory import RunDirectory
from acereason_operator.planner.recipe import recipe_of
from acereason_trainer.curation.__main__ import main as curate
from acereason_trainer.evaluation.__main__ import main as compare
from acereason_trainer.rewards.__main__ import main as grade

Said = Callable[..., tuple[int, str]]


@pytest.fixture
def acereason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Said:
    """The command in an empty directory: exit code and all that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ACEREASON_STORE", raising=False)

    def said(*arguments: str) -> tuple[int, str]:
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = int(str(end.code))
        printed = capfd.readouterr()
        return code, printed.out + printed.err

    return said


def a_run_file(path: Path, **spec: object) -> Path:
    model = path.parent / "model"
    model.mkdir(exist_ok=True)
    (path.parent / "d.jsonl").write_text("{}")
    run = {
        "apiVersion": "acereason.dev/v1alpha1",
        "kind": "AceReasonRun",
        "metadata": {"name": "demo"},
        "spec": {
            "model": {"path": "model"},
            "storage": {"directory": "store"},
            "stages": [{"name": "sft-1", "sft": {}, "inputs": {"data": {"path": "d.jsonl"}}}],
            **spec,
        },
    }
    path.write_text(yaml.safe_dump(run))
    return path


def a_store(root: Path) -> Path:
    """A store in which run `demo` has two stages."""
    run = RunDirectory(root, "demo")
    run.path.mkdir(parents=True)
    run.write_status(RunStatus(stages=[StageStatus(name="sft-1"), StageStatus(name="math-1")]))
    return root


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["run", "missing.yaml"], 2, "missing.yaml: cannot be read"),
        (["run", "run.yaml", "--until", "sft"], 2, "there is no stage sft; did you mean sft-1?"),
        (["run", "run.yaml", "--set", "spec.sed=1"], 2, "sed"),
        (["run", "run.yaml", "--values", "none.yaml"], 2, "none.yaml"),
        (["plan", "missing.yaml"], 2, "missing.yaml: cannot be read"),
        (["status", "dem", "--store", "full"], 2, "there is no run dem in full; did you mean demo"),
        (["status", "--store", "none"], 2, "none is not a directory"),
        (["status", "--store", "empty"], 2, "empty is no store, or an empty one"),
        (["status", "--store", "fresh"], 2, "fresh holds no run yet"),
        (["artifacts", "gc", "--store", "empty"], 2, "it holds no artifacts/, work/ or runs/"),
        (["report", "--out", "no/where.html", "--store", "full"], 2, "no is no directory"),
        (["report", "--out", "full", "--store", "full"], 2, "--out full is a directory"),
        (["status"], 2, "there is no store here"),
        (["logs", "math", "--store", "full"], 2, "no stage math; did you mean math-1?"),
        (["logs", "math-1", "--store", "full"], 2, "has written nothing yet"),
        (["logs", "math-1", "--attempt", "3", "--store", "full"], 2, "no attempt 3"),
        (["report", "quick", "--store", "full"], 2, "there is no run quick in full; there is demo"),
        (["artifacts", "list", "--store", "none"], 2, "none is not a directory"),
        (["frobnicate"], 2, "invalid choice: 'frobnicate'"),
    ],
)
def test_a_wrong_word_gets_one_sentence(
    acereason: Said, tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    a_run_file(tmp_path / "run.yaml")
    a_store(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    (tmp_path / "fresh" / "work").mkdir(parents=True)
    ended, said = acereason(*words)
    assert (ended, sentence in said) == (code, True), said
    assert "Traceback" not in said
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("storage", "kind"),
    [
        ({"claim": "data"}, "claim"),
        ({"objectStore": "s3://bucket/runs"}, "objectStore"),
        ({"claimTemplate": {"name": "data", "storage": "1Ti"}}, "claimTemplate"),
    ],
)
def test_storage_of_a_cluster_needs_a_directory_here(
    acereason: Said, tmp_path: Path, storage: dict[str, object], kind: str
) -> None:
    hub = {"hub": {"id": "owner/name", "revision": "0" * 40}}
    stages = [{"name": "sft", "sft": {}, "inputs": {"data": hub}}]
    file = a_run_file(tmp_path / "run.yaml", storage=storage, model=hub, stages=stages)
    ended, said = acereason("run", str(file))
    assert ended == 2
    assert f"spec.storage.{kind} needs a cluster; give a directory with --store" in said


def test_a_store_that_cannot_be_made_is_a_sentence(acereason: Said, tmp_path: Path) -> None:
    file = a_run_file(tmp_path / "run.yaml")
    ended, said = acereason("run", str(file), "--store", "d.jsonl")
    assert ended == 1 and "d.jsonl cannot be used" in said


def test_a_path_that_leads_nowhere_is_named_before_anything_starts(
    acereason: Said, tmp_path: Path
) -> None:
    file = a_run_file(tmp_path / "run.yaml")
    (tmp_path / "d.jsonl").unlink()
    ended, said = acereason("run", str(file))
    assert ended == 2 and "d.jsonl does not exist" in said
    assert not (tmp_path / "store").exists()


def test_a_plan_of_a_run_whose_status_is_damaged_is_a_sentence(
    acereason: Said, tmp_path: Path
) -> None:
    file = a_run_file(tmp_path / "run.yaml")
    a_store(tmp_path / "store")
    (tmp_path / "store" / "runs" / "demo" / "status.json").write_text('{"stag')
    ended, said = acereason("plan", str(file))
    assert ended == 1 and "remove it and start the run again" in said
    ended, said = acereason("plan", str(file), "--store", "d.jsonl")
    assert ended == 1 and "d.jsonl cannot be used" in said


def test_status_lists_runs_for_people_and_programs(acereason: Said, tmp_path: Path) -> None:
    a_store(tmp_path / "store")
    assert "demo  Stopped" in acereason("status")[1]
    assert json.loads(acereason("status", "-o", "json")[1])[0]["name"] == "demo"
    assert "math-1  Waiting" in acereason("status", "demo")[1]
    assert json.loads(acereason("status", "demo", "-o", "json")[1])["stages"][1]["name"] == "math-1"


def test_a_failed_run_names_the_stage_that_failed(acereason: Said, tmp_path: Path) -> None:
    stages = [StageStatus(name="sft-1", state="Failed"), StageStatus(name="math-1", step=3)]
    RunDirectory(a_store(tmp_path / "store"), "demo").write_status(RunStatus(stages=stages))
    assert "demo  Stopped  sft-1" in acereason("status")[1]
    (waiting,) = [line for line in acereason("status", "demo")[1].splitlines() if "math-1" in line]
    assert waiting.split() == ["math-1", "Waiting", "0"], "no steps, no time, no message"


def test_a_status_file_that_is_damaged_is_a_sentence(acereason: Said, tmp_path: Path) -> None:
    a_store(tmp_path / "store")
    (tmp_path / "store" / "runs" / "demo" / "status.json").write_text('{"stag')
    ended, said = acereason("status", "demo")
    assert ended == 1 and "remove it and start the run again" in said


def test_a_damaged_status_hides_no_other_run(acereason: Said, tmp_path: Path) -> None:
    a_store(tmp_path / "store")
    bad = RunDirectory(tmp_path / "store", "bad")
    bad.path.mkdir()
    (bad.path / "status.json").write_text('{"stag')
    ended, said = acereason("status")
    assert ended == 1
    assert "demo  Stopped" in said and "bad   Unreadable" in said
    assert "bad/status.json cannot be read" in said
    assert '"state": "Unreadable"' in acereason("status", "-o", "json")[1]


def test_lineage_of_a_run_with_a_damaged_status_is_a_sentence(
    acereason: Said, tmp_path: Path
) -> None:
    store = a_store(tmp_path / "store")
    (store / "runs" / "demo" / "status.json").write_text('{"stag')
    ended, said = acereason("lineage", "demo/sft-1")
    assert ended == 1 and "remove it and start the run again" in said


def test_a_store_that_cannot_be_read_is_a_sentence(acereason: Said, tmp_path: Path) -> None:
    store = a_store(tmp_path / "store")
    (store / "runs" / "demo" / "status.json").unlink()
    (store / "runs" / "demo" / "status.json").mkdir()
    ended, said = acereason("lineage", "demo/sft-1")
    assert ended == 1 and "cannot be read" in said


def test_the_store_of_the_environment_counts_before_that_of_the_file(
    acereason: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_run_file(tmp_path / "run.yaml")
    monkeypatch.setenv("ACEREASON_STORE", str(tmp_path / "d.jsonl"))
    ended, said = acereason("run", str(file))
    assert ended == 1 and f"{tmp_path / 'd.jsonl'} cannot be used" in said


def test_a_directory_that_is_only_called_store_is_none(acereason: Said, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert "there is no store here" in acereason("status")[1]
    a_store(tmp_path / "store")
    assert "demo" in acereason("status")[1]


@pytest.mark.parametrize(
    ("state", "refused", "why"),
    [
        ("Complete", False, "the stage has read it, and it is in the store"),
        ("Failed", True, "the stage has to read it again"),
    ],
)
def test_a_source_may_go_away_once_its_stage_is_done(
    tmp_path: Path, state: str, refused: bool, why: str
) -> None:
    file = a_run_file(tmp_path / "run.yaml")
    args = argparse.Namespace(file=file, store=None, set=[], values=[], until=None)
    asked = run_files.read(args)
    digest = recipe_of(asked.run.spec).digests["sft-1"]
    stage = StageStatus(name="sft-1", state=state, settings_digest=digest)
    asked.directory.path.mkdir(parents=True)
    asked.directory.write_status(RunStatus(stages=[stage]))
    source_files.keep(
        asked.directory, source_files.look(asked.directory, asked.run.spec, asked.context)
    )
    (tmp_path / "d.jsonl").unlink()
    with pytest.raises(run_files.Unusable) if refused else contextlib.nullcontext():
        run_files.read(args)


@pytest.mark.parametrize(
    "verb",
    [
        *["run", "validate", "plan", "status", "logs", "report", "lineage"],
        *["artifacts", "artifacts list", "artifacts verify"],
    ],
)
def test_every_verb_shows_an_example(acereason: Said, verb: str) -> None:
    ended, said = acereason(*verb.split(), "--help")
    assert ended == 0
    assert f"example: acereason {verb}" in " ".join(said.split())


@pytest.mark.parametrize(
    ("verb", "program"), [("compare", compare), ("curate", curate), ("grade", grade)]
)
def test_a_verb_of_the_trainer_shows_an_example_under_its_own_name(
    verb: str, program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program(([verb] if verb == "compare" else []) + ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"usage: acereason {verb}" in said and "example:" in said
    assert f"acereason {verb}" in said[said.index("example:") :]
