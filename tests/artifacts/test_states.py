import json
import shutil
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import pytest
from acereason_trainer.artifacts import states
from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.manifest import MANIFEST, StateManifest, read_manifest
from acereason_trainer.artifacts.states import (
    OpenState,
    drop_unfinished,
    keep_newest,
    make_room,
    newest_state,
)
from artifact_builders import write_state

KEY = "mathRL-" + "1" * 32


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


def save(
    store: Path, attempt: int, step: int, *, key: str = KEY, salt: int = 0, stage: str = "rl"
) -> Path:
    work_dir = store / "work" / "run" / stage / str(attempt)
    return write_state(work_dir, key, step, salt, f"{attempt} {step}".encode())


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


def test_what_was_never_finished_goes_when_a_later_attempt_begins(store):
    save(store, 1, 10)
    work_dirs = [store / "work/run/rl" / str(attempt) for attempt in (1, 2, 3)]
    half = [OpenState(work_dir, KEY, 20, 0).directory for work_dir in work_dirs]
    (half[0] / "weights").write_bytes(b"half")
    half_removed = work_dirs[0] / "states" / ".old-00000005-0"
    half_removed.mkdir()
    drop_unfinished(work_dirs[1])
    assert [d.exists() for d in half] == [False, False, True], "a later attempt may be at work"
    assert not half_removed.exists()
    assert newest(store) == "1/states/00000010"
    assert [p.name for p in (work_dirs[0] / "states").iterdir()] == ["00000010"]


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


def test_only_the_newest_states_of_an_attempt_are_kept(store):
    for step in (5, 10, 15, 20):
        save(store, 1, step)
    save(store, 2, 1)
    keep_newest(store / "work/run/rl/1", 2)
    assert left(store) == ["1/15", "1/20", "2/1"]


def left(store: Path) -> list[str]:
    """`attempt/step` of each state of the stage."""
    states = (store / "work/run/rl").glob("*/states/*")
    return sorted(f"{p.parent.parent.name}/{int(p.name)}" for p in states)


@pytest.mark.parametrize(
    ("why", "before", "own", "and_up_to", "expected"),
    [
        ("three attempts leave one's states", [(1, 5), (1, 10), (2, 15)], [20], None, ["3/20"]),
        ("nothing of its own yet", [(1, 5), (2, 10)], [], None, ["1/5", "2/10"]),
        (
            "a health stop would go back behind what is its own",
            [(1, 5), (1, 10), (2, 15)],
            [20],
            12,
            ["1/10", "3/20"],
        ),
        (
            "an own state is old enough by now",
            [(1, 5), (2, 10)],
            [15, 20, 25],
            16,
            ["3/15", "3/25"],
        ),
        ("went on from less, as the newest was damaged", [(1, 5), (2, 30)], [10], None,
         ["2/30", "3/10"]),
    ],
)  # fmt: skip
def test_states_of_earlier_attempts_go_once_an_attempt_has_its_own(
    store, why, before, own, and_up_to, expected
):
    for attempt, step in before:
        save(store, attempt, step)
    for step in own:
        save(store, 3, step)
    (store / "work/run/rl/3").mkdir(exist_ok=True, parents=True)
    keep_newest(store / "work/run/rl/3", 1, and_up_to)
    assert left(store) == expected


def test_states_of_other_work_or_a_later_attempt_are_left_alone(store):
    save(store, 1, 5, key="mathRL-" + "2" * 32)
    save(store, 2, 5)
    save(store, 3, 5, salt=1)
    save(store, 4, 5)
    keep_newest(store / "work/run/rl/3", 1)
    assert left(store) == ["1/5", "2/5", "3/5", "4/5"]


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


Usage = namedtuple("Usage", "free")


def a_disk(monkeypatch: pytest.MonkeyPatch, store: Path, room: int) -> None:
    """A disk on which so many states fit, each of one byte."""
    states = store / "work/run/rl"
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: Usage(room - len([*states.glob("*/states/0*")]))
    )


@pytest.mark.parametrize(
    ("why", "before", "own", "room", "and_up_to", "expected"),
    [
        ("there is room", [], [5, 10, 15], 4, None, ["3/10", "3/15", "3/5"]),
        ("the oldest goes first", [], [5, 10, 15], 3, None, ["3/10", "3/15"]),
        ("the newest stays, whatever is missing", [], [5, 10, 15], 1, None, ["3/15"]),
        ("a health stop would go back to one", [], [5, 10, 15], 1, 12, ["3/10", "3/15"]),
        ("earlier attempts have the oldest", [(1, 2), (2, 3)], [5, 10], 4, None,
         ["2/3", "3/10", "3/5"]),
        ("gone on from an earlier attempt's", [(1, 2), (2, 3)], [], 2, None, ["2/3"]),
    ],
)  # fmt: skip
def test_where_the_disk_lacks_room_older_states_go(
    store, monkeypatch, why, before, own, room, and_up_to, expected
):
    saved = [save(store, attempt, step) for attempt, step in before]
    saved += [save(store, 3, step) for step in own]
    work_dir = store / "work/run/rl/3"
    work_dir.mkdir(exist_ok=True, parents=True)
    a_disk(monkeypatch, store, room)
    make_room(work_dir, 1, saved[-1], and_up_to)
    assert left(store) == expected, why


def test_a_damaged_state_is_no_reason_to_remove_the_good_one(store, monkeypatch):
    good = save(store, 1, 10)
    (save(store, 1, 20) / "weights").write_bytes(b"bad")
    (store / "work/run/rl/2").mkdir()
    a_disk(monkeypatch, store, 0)
    make_room(store / "work/run/rl/2", 1, good)
    assert left(store) == ["1/10", "1/20"]


def test_a_name_that_leads_nowhere_is_passed_over(store: Path) -> None:
    save(store, 1, 5)
    nowhere = store / "work/run/rl/1/states/00000020"
    nowhere.symlink_to("nowhere")
    assert newest(store) == "1/states/00000005"
