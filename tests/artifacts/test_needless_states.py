import shutil
from collections import namedtuple
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from acereason_trainer.artifacts.needless_states import (
    drop_ruled_out,
    drop_unfinished,
    free_disk,
    keep_newest,
)
from acereason_trainer.artifacts.states import OpenState, newest_state
from artifact_builders import KEY, save
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


def left(store: Path) -> list[str]:
    """`attempt/step` of each state of the stage."""
    states = (store / "work/run/rl").glob("*/states/*")
    return sorted(f"{p.parent.parent.name}/{int(p.name)}" for p in states)


def test_only_the_newest_states_of_an_attempt_are_kept(store):
    for step in (5, 10, 15, 20):
        save(store, 1, step)
    save(store, 2, 1)
    keep_newest(store / "work/run/rl/1", 2)
    assert left(store) == ["1/15", "1/20", "2/1"]


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
            ["1/10", "2/15", "3/20"],
        ),
        (
            "an own state is old enough by now",
            [(1, 5), (2, 10)],
            [15, 20, 25],
            16,
            ["3/15", "3/20", "3/25"],
        ),
        (
            "what it would go back to later is still young",
            [(1, 5), (2, 10), (2, 15)],
            [20, 25, 30],
            2,
            ["1/5", "3/30"],
        ),
        (
            "passed over one that may be damaged, and wrote fewer steps first",
            [(1, 5), (2, 30)],
            [10, 40],
            20,
            ["3/10", "3/40"],
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


GAP, WINDOW = 6, 20


@given(
    keep=st.integers(1, 3),
    attempts=st.lists(
        st.lists(st.integers(1, GAP), min_size=1, max_size=40), min_size=1, max_size=6
    ),
)
def test_at_any_step_a_health_stop_has_a_state_to_go_back_to(keep, attempts):
    """Each attempt writes state by state, goes on from where the last one was killed, and never
    keeps more than the two beside its newest."""
    step = 0
    with TemporaryDirectory() as directory:
        stage = Path(directory) / "work/run/rl"
        for number, gaps in enumerate(attempts, 1):
            (stage / str(number)).mkdir(parents=True)
            for gap in gaps:
                step += gap
                save(Path(directory), number, step)
                keep_newest(stage / str(number), keep, step - WINDOW)
                found = sorted(int(p.name) for p in stage.glob("*/states/0*"))
                assert found[-1] == step
                assert len(found) <= keep + 2
                back = [s for s in found if s <= step - WINDOW]
                oldest = step - 2 * (WINDOW + GAP)
                assert max(back, default=0) > oldest or oldest <= 0
                assert step - WINDOW <= GAP or back, "but at the beginning"


@pytest.mark.parametrize(
    ("salt", "before_step", "expected"),
    [
        (0, None, ["1/100", "1/75", "2/119", "3/101", "4/5"]),
        (1, 81, ["1/75", "2/119", "3/101", "4/5"]),
        (2, 101, ["1/100", "1/75", "3/101", "4/5"]),
        (1, None, ["2/119", "3/101", "4/5"]),
    ],
)
def test_what_a_health_stop_has_ruled_out_goes_when_the_next_salt_begins(
    store, salt, before_step, expected
):
    save(store, 1, 75)
    save(store, 1, 100)
    save(store, 2, 119, salt=1)
    save(store, 3, 101, salt=2)
    save(store, 4, 5, key="mathRL-" + "2" * 32)
    drop_ruled_out(store / "work/run/rl/3", KEY, salt, before_step)
    assert left(store) == expected


def test_a_second_health_stop_never_goes_back_into_the_damage_of_the_first(store):
    """The first, at step 101, went back behind 81, the second one, at 121, behind 101."""
    save(store, 1, 75)
    save(store, 1, 100)
    drop_ruled_out(store / "work/run/rl/2", KEY, 1, 81)
    save(store, 2, 119, salt=1)
    found = newest_state(store, "run", "rl", KEY, 2, 101)
    assert found is not None
    assert found.path == "work/run/rl/1/states/00000075"


def test_states_of_other_work_or_a_later_attempt_are_left_alone(store):
    save(store, 1, 5, key="mathRL-" + "2" * 32)
    save(store, 2, 5)
    save(store, 3, 5, salt=1)
    save(store, 4, 5)
    keep_newest(store / "work/run/rl/3", 1)
    assert left(store) == ["1/5", "2/5", "3/5", "4/5"]


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
        ("what it would go back to later goes last", [], [5, 10, 15, 20], 4, 7,
         ["3/10", "3/20", "3/5"]),
        ("and it goes, too", [], [5, 10, 15, 20], 1, 7, ["3/20", "3/5"]),
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
    free_disk(work_dir, 1, saved[-1], and_up_to)
    assert left(store) == expected, why


def test_a_damaged_state_is_no_reason_to_remove_the_good_one(store, monkeypatch):
    good = save(store, 1, 10)
    (save(store, 1, 20) / "weights").write_bytes(b"bad")
    (store / "work/run/rl/2").mkdir()
    a_disk(monkeypatch, store, 0)
    free_disk(store / "work/run/rl/2", 1, good)
    assert left(store) == ["1/10", "1/20"]


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
    assert [p.name for p in (work_dirs[0] / "states").iterdir()] == ["00000010"]
