import argparse
import json
import shutil
from pathlib import Path

import pytest
from acereason_operator.cli.artifacts import add_parsers
from acereason_trainer.artifacts.locks import sharing
from acereason_trainer.artifacts.retention import COLLECTING
from acereason_trainer.artifacts.store import DirectoryStore
from artifact_builders import a_key, published

RUN = """
apiVersion: acereason.dev/v1alpha1
kind: AceReasonRun
metadata: {name: run}
spec:
  model: {path: model}
  storage: {directory: store}
  retention: {keepIntermediate: final}
  stages:
    - {name: first, sft: {}, inputs: {data: {path: d.jsonl}}}
    - {name: last, sft: {}, inputs: {data: {path: d.jsonl}}}
"""


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def acereason(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers())
    args = parser.parse_args(arguments)
    return args.run(args)


def a_finished_run(store: DirectoryStore) -> None:
    first = published(store, 1, {"w": b"1"}, stage="first")
    last = published(store, 2, {"w": b"2"}, stage="last", parents={"model": first.digest})
    directory = store.root / "runs" / "run"
    directory.mkdir(parents=True)
    (directory / "run.yaml").write_text(RUN)
    stages = [
        {"name": name, "state": "Complete", "artifact": artifact.dump()}
        for name, artifact in (("first", first), ("last", last))
    ]
    (directory / "status.json").write_text(json.dumps({"stages": stages}))


def test_list_shows_every_artifact_as_a_table_and_for_programs(store, capsys):
    a_finished_run(store)
    assert acereason("artifacts", "list", "--store", str(store.root)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["KEY", "KIND"]
    assert [line.split()[0] for line in lines[1:]] == [a_key(1), a_key(2)]
    assert "run/last" in lines[2]
    assert acereason("artifacts", "list", "--store", str(store.root), "-o", "json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(m["key"], m["bytes"]) for m in listed] == [(a_key(1), 1), (a_key(2), 1)]


def test_verify_names_what_is_wrong_and_ends_with_1(store, capsys):
    a_finished_run(store)
    assert acereason("artifacts", "verify", "--store", str(store.root)) == 0
    (store.root / "artifacts" / a_key(2) / "w").write_bytes(b"x")
    assert acereason("artifacts", "verify", "--store", str(store.root)) == 1
    out = capsys.readouterr().out
    assert f"{a_key(1)}  good" in out
    assert f"{a_key(2)}  is corrupt: w does not hash" in out
    assert acereason("artifacts", "verify", a_key(1), "--store", str(store.root)) == 0
    assert acereason("artifacts", "verify", "nothing", "--store", str(store.root)) == 1
    assert "is not there" in capsys.readouterr().out


def test_verify_refuses_what_every_reader_refuses(store, capsys):
    a_finished_run(store)
    shutil.copytree(store.root / "artifacts" / a_key(1), store.root / "artifacts" / a_key(3))
    assert acereason("artifacts", "verify", "--store", str(store.root)) == 1
    assert f"{a_key(3)}  is corrupt: its manifest.json belongs to" in capsys.readouterr().out


def test_gc_follows_the_retention_of_the_run_and_a_dry_run_only_says_so(store, capsys):
    a_finished_run(store)
    assert acereason("artifacts", "gc", "--dry-run", "--store", str(store.root)) == 0
    said = capsys.readouterr().out
    assert f"artifacts/{a_key(1)}" in said
    assert a_key(2) not in said
    assert "1 would be removed, 1 B" in said
    assert store.lookup(a_key(1)) is not None
    assert acereason("artifacts", "gc", "--store", str(store.root)) == 0
    assert store.lookup(a_key(1)) is None
    assert store.lookup(a_key(2)) is not None


def test_gc_keeps_all_of_a_run_that_it_cannot_read_and_says_so(store, capsys):
    a_finished_run(store)
    (store.root / "runs/run/run.yaml").write_text("kind: [")
    assert acereason("artifacts", "gc", "--store", str(store.root)) == 0
    assert "run run cannot be read; all that it names is kept" in capsys.readouterr().err
    assert store.lookup(a_key(1)) is not None


def test_gc_waits_for_its_turn_in_a_sentence(store, capsys):
    a_finished_run(store)
    with sharing(store.root / COLLECTING):
        assert acereason("artifacts", "gc", "--store", str(store.root)) == 1
    assert "try again when it is done" in capsys.readouterr().err


def test_lineage_knows_a_stage_by_its_name_also_where_it_used_the_work_of_another_run(
    store, capsys
):
    a_finished_run(store)
    other = store.root / "runs" / "other"
    other.mkdir()
    reused = {"name": "mine", "artifact": store.lookup(a_key(2)).dump()}
    (other / "status.json").write_text(json.dumps({"stages": [reused]}))
    assert acereason("lineage", "other/mine", "--store", str(store.root)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{a_key(2)}  run/last, attempt 1, step 2",
        f"└─ model: {a_key(1)}  run/first, attempt 1, step 1",
    ]
    assert acereason("lineage", a_key(2), "-o", "json", "--store", str(store.root)) == 0
    nodes = json.loads(capsys.readouterr().out)
    assert nodes[0]["parents"] == {"model": nodes[1]["digest"]}


def test_the_store_is_the_one_named_else_of_the_environment_else_here(
    store, tmp_path, capsys, monkeypatch
):
    a_finished_run(store)
    monkeypatch.delenv("ACEREASON_STORE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no-run-yet"))
    monkeypatch.chdir(tmp_path)
    assert acereason("artifacts", "list") == 0
    monkeypatch.chdir("/")
    assert acereason("artifacts", "list") == 2
    assert "there is no store here" in capsys.readouterr().err
    monkeypatch.setenv("ACEREASON_STORE", str(store.root))
    assert acereason("artifacts", "list") == 0
    assert acereason("artifacts", "list", "--store", str(tmp_path / "none")) == 2
    assert "none is not a directory" in capsys.readouterr().err
