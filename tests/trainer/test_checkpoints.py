"""When a stage's state is copied, when training waits for it, and whether a stop has time for it.

With a policy that holds nothing: how much it would hold and how long it takes is said.
"""

import errno
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.hashing import hash_files
from acereason_trainer.artifacts.states import OpenState, newest_state, own_states
from acereason_trainer.checkpoints import CURVES_FILE, LOOP_FILE, Checkpoints
from acereason_trainer.config.common import Saving, Telemetry
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import ResumeState
from acereason_trainer.peers import End, Peers
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.stage import StageContext, StageFailure, StopFlag, Stopped
from acereason_trainer.telemetry.recorder import Recorder

from tests.ranks_in_threads import on_two_ranks
from tests.stage_attempts import a_stage, begun

TOO_MUCH = 2**60
"""Bytes that no host has."""
SFT = {"sft": {"budget": {"epochs": 1}}}


@dataclass
class Copy:
    """Of a state, in memory."""

    file: str

    def write(self, directory: Path) -> list[Path]:
        (directory / self.file).write_bytes(b"weights")
        return [directory / self.file]


@dataclass
class Sized:
    """A policy as states see it."""

    state_bytes: int = 1
    room_bytes: int = 0
    seconds: float = 0.0
    """What gathering a state takes."""
    file: str = "weights"
    """That a state of it is in."""
    asked: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def load_state(self, directory: Path) -> None:
        self.loaded.append(directory.name)

    def snapshot(self) -> Copy:
        self.asked.append("snapshot")
        return Copy(self.file)

    def save_state(self, directory: Path) -> Sequence[Path]:
        self.asked.append("save_state")
        began = time.monotonic()
        while time.monotonic() - began < self.seconds:
            pass
        return Copy(self.file).write(directory)


def an_attempt(store: Path, **told: Any) -> StageContext:
    return begun({**a_stage(store, SFT), **told}, StopFlag())


@dataclass
class Risk:
    """`saving`, and it may change its mind."""

    minutes_at_risk: float = 0.0
    keep: int = 2


def saving(
    context: StageContext, policy: Sized, risk: Risk | None = None
) -> tuple[Recorder, Checkpoints]:
    recorder = Recorder(
        context.work_dir,
        total=9,
        unit="steps",
        settings=Telemetry(),
        key="k",
        leads=context.peers.leads,
    )
    told = cast(Saving, risk or Risk())
    return recorder, Checkpoints(context, told, cast(Policy, policy), recorder)


def asked_at_a_save(store: Path, policy: Sized) -> list[str]:
    """What a policy was asked for, first."""
    recorder, checkpoints = saving(an_attempt(store), policy)
    with recorder, checkpoints:
        checkpoints.resume()
        checkpoints.completed(1)
    return policy.asked[:1]


def test_a_copy_is_made_where_there_is_memory_for_it_and_for_what_a_sampler_sends_there(
    tmp_path: Path,
) -> None:
    assert asked_at_a_save(tmp_path / "1", Sized()) == ["snapshot"]
    assert asked_at_a_save(tmp_path / "2", Sized(state_bytes=TOO_MUCH)) == ["save_state"]
    assert asked_at_a_save(tmp_path / "3", Sized(room_bytes=TOO_MUCH)) == ["save_state"]


def test_a_stop_begins_no_state_that_takes_longer_to_gather_than_is_left(tmp_path: Path) -> None:
    context = an_attempt(tmp_path, graceSeconds=0.2)
    slow, risk = Sized(state_bytes=TOO_MUCH, seconds=0.3), Risk()
    recorder, checkpoints = saving(context, slow, risk)
    with pytest.raises(Stopped), recorder, checkpoints:
        checkpoints.resume()
        checkpoints.completed(1)
        risk.minutes_at_risk = 1440.0  # the stop comes before the next state is due
        checkpoints.completed(2)
        raise Stopped
    assert [state.name for state in own_states(context.work_dir)] == ["00000001"]


class AskedBefore(StopFlag):
    """A SIGTERM that came a while ago."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    @property
    def seconds_since(self) -> float:
        return self._seconds


@pytest.mark.parametrize(
    ("asked_before", "kept"),
    [((0.0, 0.0), ["00000001"]), ((0.0, 700.0), []), ((700.0, 0.0), [])],
)
def test_a_stop_leaves_as_long_as_the_rank_has_that_was_asked_first(
    tmp_path: Path, asked_before: Sequence[float], kept: list[str]
) -> None:
    context = an_attempt(tmp_path, graceSeconds=600)

    def stopped(peers: Peers) -> None:
        own = replace(context, peers=peers, stop=AskedBefore(asked_before[peers.rank]))
        recorder, checkpoints = saving(own, Sized(file=f"weights-{peers.rank}"), Risk(1440.0))
        with pytest.raises(Stopped), recorder, checkpoints:
            checkpoints.resume()
            checkpoints.completed(1)
            raise Stopped

    on_two_ranks(stopped)
    assert [state.name for state in own_states(context.work_dir)] == kept


@dataclass
class Broken(Sized):
    """A policy that has no state to give."""

    error: OSError = field(default_factory=lambda: OSError(errno.EIO, "Input/output error"))

    def save_state(self, directory: Path) -> Sequence[Path]:
        raise self.error


def stopped_while_its_policy_is_broken(store: Path, policy: Broken) -> None:
    context = an_attempt(store, graceSeconds=600)
    recorder, checkpoints = saving(context, policy, Risk(1440.0))
    with recorder, checkpoints:
        checkpoints.resume()
        checkpoints.completed(1)
        raise Stopped


def test_a_stop_whose_state_cannot_be_written_is_still_a_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped):
        stopped_while_its_policy_is_broken(tmp_path, Broken())
    assert "no state was kept at the stop (OSError: [Errno 5]" in capsys.readouterr().err


def test_a_stop_whose_state_finds_the_store_full_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreFull):
        stopped_while_its_policy_is_broken(tmp_path, Broken(error=OSError(errno.ENOSPC, "full")))


class BrokenCopy(Copy):
    """Of which nothing gets to the disk."""

    def write(self, directory: Path) -> list[Path]:
        raise OSError(errno.ENOSPC, "full")


class Unwritable(Sized):
    """A policy whose states find no room."""

    def snapshot(self) -> Copy:
        return BrokenCopy(self.file)


def test_a_health_stop_whose_last_state_cannot_be_written_is_still_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the next attempt would go on from within the damage."""
    recorder, checkpoints = saving(an_attempt(tmp_path), Unwritable())
    with pytest.raises(StageFailure) as ended, recorder, checkpoints:
        checkpoints.resume()
        checkpoints.completed(1)
        raise StageFailure(ExitCode.HEALTH_STOP, "RewardCollapse", "no reward any more")
    assert ended.value.reason == "RewardCollapse"
    assert "no state was kept at the stop (StoreFull: " in capsys.readouterr().err


def test_what_a_health_stop_ruled_out_is_gone_once_the_next_attempt_goes_on(
    tmp_path: Path,
) -> None:
    earlier = an_attempt(tmp_path)
    for step in (75, 100):
        a_state(earlier, step)
    told = {**a_stage(tmp_path, SFT, salt=1), "attempt": 2, "beforeStep": 81}
    context = begun(told, StopFlag())
    recorder, checkpoints = saving(context, Sized())
    with recorder, checkpoints:
        checkpoints.resume()
    found = newest_state(tmp_path, "run", "stage", context.prepared.key, 2, 101)
    assert found is not None and found.step == 75


def test_a_state_that_was_passed_over_is_never_taken_for_the_newest(tmp_path: Path) -> None:
    """Or the next state would make the one that this attempt has gone on from, and itself,
    needless."""
    context = an_attempt(tmp_path)
    for step in (60, 100):
        a_state(context, step)
    good, damaged = (context.work_dir / f"states/{step:08d}" for step in (60, 100))
    (damaged / "weights").write_bytes(b"Weights")
    found = newest_state(tmp_path, "run", "stage", context.prepared.key, 0)
    assert found is not None and found.step == 60
    context = replace(context, prepared=context.prepared.model_copy(update={"resume": found}))
    recorder, checkpoints = saving(context, Sized(), Risk(keep=1))
    with recorder, checkpoints:
        checkpoints.resume()
        assert own_states(context.work_dir) == [good]
        checkpoints.completed(61)
    assert [state.name for state in own_states(context.work_dir)] == ["00000061"]


def a_state(context: StageContext, step: int) -> None:
    opened = OpenState(context.work_dir, context.prepared.key, step, 0)
    for name, text in (("weights", "weights"), (LOOP_FILE, "{}"), (CURVES_FILE, "")):
        (opened.directory / name).write_text(text)
    opened.commit(hash_files({path.name: path for path in opened.directory.iterdir()}))


def test_what_an_earlier_start_left_half_written_is_gone_when_an_attempt_goes_on(
    tmp_path: Path,
) -> None:
    context = an_attempt(tmp_path)
    half = OpenState(context.work_dir, context.prepared.key, 7, 0).directory
    recorder, checkpoints = saving(context, Sized())
    with recorder, checkpoints:
        checkpoints.resume()
        assert not half.exists()


class Told(Peers):
    """A second rank, whose leader has said what it says."""

    rank = 1

    def __init__(self, *said: Any) -> None:
        self._said = list(said)

    def from_leader(self, end: End | None) -> list[End]:
        return [End(self._said.pop(0))]


def test_all_ranks_go_on_from_the_state_that_the_first_one_found(tmp_path: Path) -> None:
    context = an_attempt(tmp_path)
    for step in (1, 2):
        state = OpenState(context.work_dir, context.prepared.key, step, 0)
        (state.directory / "loop.json").write_text("{}")
        (state.directory / "metrics.jsonl").write_text("")
        state.commit([])
    newest, older = own_states(context.work_dir)
    chosen, seen = (
        ResumeState(
            path=str(path.relative_to(tmp_path)), step=int(path.name), digest=f"sha256:{'0' * 64}"
        )
        for path in (older, newest)
    )
    prepared = context.prepared.model_copy(update={"resume": seen})
    second = replace(context, prepared=prepared, peers=Told(None, chosen, None))
    policy = Sized()
    recorder, checkpoints = saving(second, policy)
    with recorder:
        assert checkpoints.resume().step == 1
    assert policy.loaded == [older.name]
    gone = chosen.model_copy(update={"path": f"{chosen.path}-gone"})
    recorder, checkpoints = saving(replace(second, peers=Told(None, gone, None)), policy)
    with recorder, pytest.raises(StageFailure, match="is not there any more") as failed:
        checkpoints.resume()
    assert (failed.value.code, failed.value.reason) == (ExitCode.TEMPORARY, "StateGone")


def test_what_cannot_be_removed_costs_room_and_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a file that is open elsewhere stays under another name."""

    def stays(_: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(shutil, "rmtree", stays)
    context = an_attempt(tmp_path)
    recorder, checkpoints = saving(context, Sized(), Risk(keep=1))
    with recorder, checkpoints:
        checkpoints.resume()
        checkpoints.completed(1)
        checkpoints.completed(2)
    assert [state.name for state in own_states(context.work_dir)] == ["00000002"]
