import os
import time
from pathlib import Path

import pytest
from acereason_trainer.artifacts.locks import Held, holding, sharing
from acereason_trainer.artifacts.retention import COLLECTING, Kept, collect, removable
from acereason_trainer.artifacts.store import DirectoryStore
from artifact_builders import a_key, published, write_state

TWO_DAYS = 2 * 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def a_run(store: DirectoryStore, name: str, *names: str) -> None:
    """A run on this machine whose status names some things."""
    directory = store.root / "runs" / name
    directory.mkdir(parents=True)
    (directory / "status.json").write_text(" ".join(names))


def keeping(*uris: str, **states: str) -> Kept:
    return Kept(frozenset(Path(uri).name for uri in uris), states)


def removed(store: DirectoryStore, runs: dict[str, Kept]) -> list[str]:
    """What is removed, after a look that must say the same and change nothing."""
    before = sorted(store.root.rglob("*"))
    foreseen = removable(store, runs)
    assert sorted(store.root.rglob("*")) == before
    assert collect(store, runs) == foreseen
    assert all(not (store.root / r.path).exists() for r in foreseen)
    return sorted(r.path for r in foreseen)


def older(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def finished(store: DirectoryStore, name: str = "run") -> None:
    """The run `name` has a status, so what its attempts left behind names nothing."""
    a_run(store, name)


def test_what_nobody_names_goes_and_what_a_run_keeps_stays_with_its_ancestors(store):
    base = store.import_files({"w": b"base"}, kind="model", origin="base")
    sft = published(store, 1, {"w": b"1"}, parents={"model": base.digest})
    rl = published(store, 2, {"w": b"2"}, parents={"model": sft.digest})
    dead = published(store, 3, {"w": b"3"}, parents={"model": sft.digest})
    a_run(store, "run", rl.uri)
    assert removed(store, {"run": keeping(rl.uri)}) == [dead.uri]


def test_a_status_that_was_not_understood_keeps_all_that_it_names_by_key_or_digest(store):
    one, two = published(store, 1, {"w": b"1"}), published(store, 2, {"w": b"2"})
    dead = published(store, 3, {"w": b"3"})
    a_run(store, "run", one.uri, two.digest)
    assert removed(store, {}) == [dead.uri]


def test_what_a_run_gave_up_goes_though_something_live_was_made_from_it(store):
    sft = published(store, 1, {"w": b"1"})
    rl = published(store, 2, {"w": b"2"}, parents={"model": sft.digest})
    a_run(store, "run", sft.uri, rl.uri)
    assert removed(store, {"run": keeping(rl.uri)}) == [sft.uri]


def test_what_one_run_gave_up_stays_while_another_keeps_it(store):
    sft = published(store, 1, {"w": b"1"})
    a_run(store, "run", sft.uri)
    a_run(store, "other", sft.uri)
    assert removed(store, {"run": keeping(), "other": keeping(sft.uri)}) == []


def test_a_pin_keeps_an_artifact(store):
    published(store, 1)
    finished(store)
    (store.root / "pins").mkdir()
    (store.root / "pins" / a_key(1)).touch()
    assert removed(store, {"run": keeping()}) == []


@pytest.mark.parametrize("file", ["stage.yaml", "prepare.json", "result.json"])
@pytest.mark.parametrize("lock", ["runs/run/lock", "work/run/sft/1/launcher.lock"])
def test_what_a_running_attempt_was_told_or_found_stays(store, file, lock):
    used, dead = published(store, 1, {"w": b"1"}), published(store, 2, {"w": b"2"})
    finished(store)
    (store.root / "work/run/sft/1" / file).write_text(f"uri: {used.uri}")
    with holding(store.root / lock):
        assert removed(store, {"run": keeping()}) == [dead.uri]
    assert removed(store, {"run": keeping()}) == [used.uri]


def test_a_run_without_a_status_file_lives_elsewhere_and_keeps_what_it_was_told(store):
    used, dead = published(store, 1, {"w": b"1"}), published(store, 2, {"w": b"2"})
    (store.root / "work/run/sft/1/stage.yaml").write_text(f"digest: {used.digest}")
    assert removed(store, {}) == [dead.uri]


def test_garbage_goes_after_a_day(store):
    finished(store)
    garbage = [
        "artifacts/.aside-sft-x",
        "artifacts/.tmp-sft-x",
        f"artifacts/{a_key(7)}",
        "work/run/sft/1/.tmp-gc-x",
        "work/run/sft/1/states/.tmp-00000010-x",
    ]
    for path in garbage:
        (store.root / path).mkdir(parents=True)
        (store.root / path / "half").write_bytes(b"x" * 10)
    assert removed(store, {}) == []
    for path in garbage:
        older(store.root / path, TWO_DAYS)
    assert removed(store, {}) == garbage


def test_what_is_put_in_its_place_meanwhile_is_no_garbage(store, monkeypatch):
    finished(store)
    half = store.root / "artifacts/.tmp-sft-x"
    half.mkdir(parents=True)
    disk = Path.stat

    def stat(path, **kwargs):
        if path == half:
            half.rename(store.root / "artifacts" / a_key(7))
        return disk(path, **kwargs)

    monkeypatch.setattr(Path, "stat", stat)
    assert removable(store, {}) == []


def test_a_damaged_artifact_that_a_run_names_is_kept_as_evidence(store):
    artifact = published(store, 1)
    (store.directory(artifact.uri) / "manifest.json").unlink()
    older(store.directory(artifact.uri), TWO_DAYS)
    a_run(store, "run", artifact.uri)
    assert removed(store, {}) == []


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        ("all", []),
        ("newest", ["1/states/00000005", "1/states/00000010"]),
        (
            "none",
            [
                "1/best", "1/journal", "1/states/00000005", "1/states/00000010", "2/answers",
                "2/states/00000015",
            ],
        ),
    ],
)  # fmt: skip
def test_states_of_finished_stages_go_as_the_run_says(store, keep, gone):
    for attempt, step in ((1, 5), (1, 10), (2, 15)):
        work_dir = store.root / "work/run/sft" / str(attempt)
        write_state(work_dir, a_key(1), step)
    (store.root / "work/run/sft/1/best/00000004").mkdir(parents=True)
    (store.root / "work/run/sft/1/journal").mkdir()
    (store.root / "work/run/sft/2/answers").mkdir()
    a_run(store, "run")
    with holding(store.root / "runs/run/lock"):
        assert removed(store, {"run": keeping(sft=keep)}) == []
    assert removed(store, {"run": keeping(sft=keep)}) == [f"work/run/sft/{path}" for path in gone]


def test_nothing_is_collected_while_a_stage_is_being_prepared(store):
    published(store, 1)
    finished(store)
    with sharing(store.root / COLLECTING), pytest.raises(Held):
        collect(store, {})
    assert len(collect(store, {})) == 1
