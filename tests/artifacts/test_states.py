import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from acereason_trainer.artifacts import states
from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.manifest import MANIFEST, StateManifest, read_manifest
from acereason_trainer.artifacts.needless_states import keep_newest
from acereason_trainer.artifacts.states import OpenState, newest_state
from artifact_builders import KEY, save


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


def newest(store: Path, salt: int = 0, before_step: int | None = None) -> str | None:
    found = newest_state(store, "run", "rl", KEY, salt, before_step)
    return found and found.path.removeprefix("work/run/rl/")


@dataclass(frozen=True)
class Case:
    why: str
    states: list[tuple[int, int, int]]  # attempt, step, salt
    expected: str | None
    salt: int = 0
    before_step: int | None = None


CASES = [
    Case("nothing was written", [], None),
    Case("the most steps win", [(1, 5, 0), (1, 10, 0)], "1/states/00000010"),
    Case("over all attempts", [(1, 10, 0), (2, 5, 0)], "1/states/00000010"),
    Case("attempt 10 is later than 9", [(9, 5, 0), (10, 5, 0)], "10/states/00000005"),
    Case(
        "after a health stop, only from before the damage",
        [(1, 5, 0), (1, 10, 0)],
        "1/states/00000005",
        salt=1,
        before_step=7,
    ),
    Case(
        "what the new salt wrote counts at any step",
        [(1, 5, 0), (1, 10, 0), (2, 8, 1)],
        "2/states/00000008",
        salt=1,
        before_step=7,
    ),
    Case(
        "the new salt went on from the old one",
        [(1, 6, 0), (2, 6, 1)],
        "2/states/00000006",
        salt=1,
        before_step=7,
    ),
    Case("an unfinished attempt of a later salt is not ours", [(1, 5, 1)], None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.why)
def test_the_newest_state_under_a_key_is_gone_on_from(store, case):
    for attempt, step, salt in case.states:
        save(store, attempt, step, salt=salt)
    assert newest(store, case.salt, case.before_step) == case.expected


def test_states_of_another_key_or_stage_are_not_ours(store):
    save(store, 1, 5, key="mathRL-" + "2" * 32)
    save(store, 1, 6, stage="other")
    assert newest(store) is None


@pytest.mark.parametrize(
    ("why", "damage"),
    [
        ("flipped", lambda d: (d / "weights").write_bytes(b"2 21")),
        ("cut", lambda d: (d / "weights").write_bytes(b"")),
        ("missing", lambda d: (d / "weights").unlink()),
        ("extra", lambda d: (d / "x").write_bytes(b"x")),
        ("no manifest", lambda d: (d / "manifest.json").unlink()),
    ],
)
def test_a_damaged_state_is_passed_over_with_a_warning_and_stays(store, caplog, why, damage):
    save(store, 1, 10)
    newer = save(store, 2, 20)
    damage(newer)
    assert newest(store) == "1/states/00000010"
    assert "work/run/rl/2/states/00000020 is corrupt" in caplog.text
    assert newer.exists()


def test_what_was_not_committed_is_no_state(store):
    save(store, 1, 10)
    half = OpenState(store / "work/run/rl/1", KEY, 20, 0)
    (half.directory / "weights").write_bytes(b"half")
    assert newest(store) == "1/states/00000010"


def test_a_state_of_a_form_that_is_not_read_any_more_is_passed_over(store, caplog):
    old = OpenState(store / "work/run/rl/1", KEY, 20, 0)
    (old.directory / "policy.pt").write_bytes(b"pickled")
    old.commit(hash_tree(old.directory))
    assert newest(store) is None
    assert "00000020 was written by a version whose states are not read any more" in caplog.text
    save(store, 1, 10)
    assert newest(store) == "1/states/00000010"


def test_a_state_of_a_newer_version_is_passed_over_with_a_sentence(store, caplog, monkeypatch):
    save(store, 1, 10)
    with monkeypatch.context() as newer:
        newer.setattr(states, "FORM", states.FORM + 1)
        save(store, 2, 20)
        assert newest(store) == "2/states/00000020"
    assert newest(store) == "1/states/00000010"
    assert "2/states/00000020 was written by a newer version (states of form 2;" in caplog.text


def test_a_state_from_before_forms_had_numbers_is_gone_on_from(store):
    directory = save(store, 1, 10)
    manifest = read_manifest(directory, StateManifest)
    old = manifest.model_copy(update={"form": None}).sealed()
    (directory / MANIFEST).write_bytes(old.text())
    assert "form" not in json.loads(old.text())
    assert newest(store) == "1/states/00000010"


def test_a_state_of_the_same_step_is_replaced(store):
    damaged = save(store, 1, 10)
    (damaged / "weights").write_bytes(b"bad")
    save(store, 1, 10)
    assert newest(store) == "1/states/00000010"
    assert [p.name for p in damaged.parent.iterdir()] == ["00000010"]


def test_a_state_that_cannot_take_its_place_leaves_the_one_of_the_same_step(store, monkeypatch):
    save(store, 1, 10)
    disk = Path.rename

    def rename(path, target):
        if path.name.startswith(".tmp-"):
            raise OSError(5, "Input/output error")
        return disk(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"):
        save(store, 1, 10)
    assert newest(store) == "1/states/00000010"


def test_a_state_that_is_removed_while_it_is_hashed_has_a_newer_one(store, monkeypatch):
    """Its attempt trains on, as nobody could end it, and keeps its newest state only."""
    first, disk = save(store, 1, 10), Path.open

    def opened(path, *args, **kwargs):
        if path.parent == first and path.name != MANIFEST and first.exists():
            save(store, 1, 20)
            keep_newest(store / "work/run/rl/1", 1)
        return disk(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    assert newest(store) == "1/states/00000020"
    assert not first.exists()


def test_a_state_that_is_removed_before_its_manifest_is_read_has_a_newer_one(store, monkeypatch):
    first, disk = save(store, 1, 10), Path.read_bytes

    def read(path):
        if path.parent == first:
            monkeypatch.undo()
            save(store, 1, 20)
            keep_newest(store / "work/run/rl/1", 1)
        return disk(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert newest(store) == "1/states/00000020"
    assert not first.exists()


def test_a_name_that_leads_nowhere_is_passed_over(store: Path) -> None:
    save(store, 1, 5)
    nowhere = store / "work/run/rl/1/states/00000020"
    nowhere.symlink_to("nowhere")
    assert newest(store) == "1/states/00000005"
