"""A state on its way to the disk: training goes on, ranks meet by files, errors are heard of."""

import errno
import os
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.manifest import FileEntry
from acereason_trainer.artifacts.states import OpenState, newest_state
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.host_memory import NO_LIMIT, available, left_in
from acereason_trainer.stage import StageFailure
from acereason_trainer.state_writing import GivenUp, StateWriting

KEY = "sft-" + "1" * 32


def writes(name: str, after: Event | None = None) -> Callable[[Path], Sequence[Path]]:
    """A rank's part: one file, written when it may."""

    def write(directory: Path) -> list[Path]:
        if after is not None:
            after.wait()
        (directory / name).write_bytes(name.encode())
        return [directory / name]

    return write


def fails(directory: Path) -> list[Path]:
    raise RuntimeError("the tensors are gone")


class Attempt:
    """An attempt of several ranks, all in this process."""

    def __init__(self, store: Path, world: int) -> None:
        self.store = store
        self.state = OpenState(store / "work/run/sft/1", KEY, 10, 0)
        self.world = world

    def rank(
        self, rank: int, write: Callable[[Path], Sequence[Path]], began: float | None = None
    ) -> StateWriting:
        def commit(files: Sequence[FileEntry]) -> None:
            self.state.commit(files)

        return StateWriting(
            self.state.directory, write, commit, rank=rank, world=self.world, began=began
        )

    @property
    def found(self) -> list[str] | None:
        """Names of the files of the newest good state."""
        state = newest_state(self.store, "run", "sft", KEY, 0)
        return state and sorted(p.name for p in (self.store / state.path).iterdir())


def test_training_goes_on_while_a_state_is_written(tmp_path: Path) -> None:
    attempt, may_write = Attempt(tmp_path, 1), Event()
    writing = attempt.rank(0, writes("a", may_write))
    writing.check()
    assert writing.seconds is None
    assert attempt.found is None
    may_write.set()
    writing.wait()
    assert attempt.found == ["a", "manifest.json"]
    assert writing.seconds is not None


def test_the_leader_commits_when_all_ranks_have_written(tmp_path: Path) -> None:
    attempt, may_write = Attempt(tmp_path, 3), Event()
    others = [attempt.rank(1, writes("b")), attempt.rank(2, writes("c", may_write))]
    leader = attempt.rank(0, writes("a"))
    for writing in (leader, others[0]):
        writing.wait_for_own_part()
    assert attempt.found is None
    may_write.set()
    leader.wait()
    assert attempt.found == ["a", "b", "c", "manifest.json"]


def test_a_state_may_be_in_its_place_before_the_last_rank_is_done_telling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader sees a note at once, and with it goes the directory that the note was in."""
    attempt, leaders, disk = Attempt(tmp_path, 2), [], Path.rename

    def rename(old: Path, new: Path) -> Path:
        disk(old, new)
        if new.name == ".rank-1.json":
            leaders[0].wait()
        return new

    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr(Path, "rename", rename)
    leaders.append(attempt.rank(0, writes("a")))
    attempt.rank(1, writes("b")).wait()
    assert attempt.found == ["a", "b", "manifest.json"]


class Copy:
    """What a rank has of a state in memory."""

    def write(self, directory: Path) -> Sequence[Path]:
        return writes("a")(directory)


def test_a_rank_lets_its_copy_go_when_it_has_written_it(tmp_path: Path) -> None:
    attempt, may_write, copy = Attempt(tmp_path, 2), Event(), Copy()
    gone = weakref.ref(copy)
    leader = attempt.rank(0, copy.write)
    del copy
    leader.wait_for_own_part()
    assert gone() is None, "while the other rank still writes"
    other = attempt.rank(1, writes("b", may_write))
    may_write.set()
    other.wait_for_own_part()
    leader.wait()
    assert attempt.found == ["a", "b", "manifest.json"]


def test_the_time_that_a_state_took_begins_with_its_copying(tmp_path: Path) -> None:
    may_write, began = Event(), time.monotonic() - 100
    writing = Attempt(tmp_path, 1).rank(0, writes("a", may_write), began=began)
    assert writing.seconds is None
    assert writing.seconds_so_far >= 100
    may_write.set()
    writing.wait()
    assert writing.seconds is not None
    assert writing.seconds == writing.seconds_so_far >= 100


def test_what_went_wrong_in_the_thread_is_raised_where_training_looks(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 1)
    writing = attempt.rank(0, fails)
    with pytest.raises(RuntimeError, match="the tensors are gone"):
        writing.wait()
    with pytest.raises(RuntimeError, match="the tensors are gone"):
        writing.check()
    assert [*attempt.state.directory.parent.iterdir()] == []


def test_a_leader_whose_peer_has_failed_gives_up_and_leaves_nothing(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 2)
    leader, other = attempt.rank(0, writes("a")), attempt.rank(1, fails)
    with pytest.raises(RuntimeError, match="the tensors are gone"):
        other.wait_for_own_part()
    leader.wait_for_own_part()
    leader.give_up()
    with pytest.raises(GivenUp):
        leader.check()
    assert attempt.found is None
    assert [*attempt.state.directory.parent.iterdir()] == []


def finds_no_room(directory: Path) -> list[Path]:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_rank_that_still_writes_where_the_leader_has_given_up_has_done_nothing_wrong(
    tmp_path: Path,
) -> None:
    attempt, may_write = Attempt(tmp_path, 2), Event()
    other = attempt.rank(1, writes("b", may_write))
    with pytest.raises(StoreFull):
        attempt.rank(0, finds_no_room).wait()
    may_write.set()
    with pytest.raises(StageFailure, match="has given this state up") as ended:
        other.wait_for_own_part()
    assert ended.value.code == ExitCode.TEMPORARY


def test_a_state_that_is_given_up_goes_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank that still writes there finds it whole or gone, and leaves nothing behind."""
    attempt, disk = Attempt(tmp_path, 2), os.unlink
    (attempt.state.directory / "b").touch()

    def unlink(path: str, *rest: Any, **more: Any) -> None:
        disk(path, *rest, **more)
        if Path(path).name == "b":
            with pytest.raises(FileNotFoundError):
                (attempt.state.directory / "c").touch()

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(StoreFull):
        attempt.rank(0, finds_no_room).wait()
    assert [*attempt.state.directory.parent.iterdir()] == []


def test_a_volume_that_fails_and_does_not_say_what_it_holds_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt(tmp_path, 2)

    def stat(path: Path, **_: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    def write(directory: Path) -> list[Path]:
        monkeypatch.setattr(Path, "stat", stat)
        return [directory / "never written"]

    with pytest.raises(OSError, match="never written"):
        attempt.rank(1, write).wait_for_own_part()


def test_an_attempt_that_ends_otherwise_keeps_a_state_that_needs_nobody(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 1)
    attempt.rank(0, writes("a")).give_up()
    assert attempt.found == ["a", "manifest.json"]


def test_memory_is_what_the_cgroup_leaves_and_files_in_it_are_free(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\nactive_file 100\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert left_in(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert left_in(tmp_path) == NO_LIMIT
    assert left_in(tmp_path / "no cgroup") == NO_LIMIT
    assert 0 < available() < NO_LIMIT
