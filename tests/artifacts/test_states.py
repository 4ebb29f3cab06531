from dataclasses import dataclass
from pathlib import Path

import pytest
from acereason_trainer.artifacts.states import keep_newest, newest_state, write_state

KEY = "mathRL-" + "1" * 32


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path


def save(
    store: Path, attempt: int, step: int, *, key: str = KEY, salt: int = 0, stage: str = "rl"
) -> Path:
    work_dir = store / "work" / "run" / stage / str(attempt)
    content = f"{attempt} {step}".encode()
    write_state(work_dir, key, step, salt, lambda d: (d / "weights").write_bytes(content) and None)
    return work_dir / "states" / f"{step:08d}"


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


def test_a_writer_that_fails_leaves_the_older_states_and_nothing_else(store):
    save(store, 1, 10)

    def broken(directory: Path) -> None:
        (directory / "weights").write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_state(store / "work/run/rl/1", KEY, 20, 0, broken)
    assert [p.name for p in (store / "work/run/rl/1/states").iterdir()] == ["00000010"]
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
