"""The ranks of one node as processes: started with torchrun's variables, told to stop, killed.

Each rank leads a session of its own, so that a Ctrl-C at a terminal reaches the launcher alone, and
is killed by the kernel should the launcher die. SIGTERM goes to the rank itself, which still needs
its helpers while it publishes; SIGKILL goes to its whole group.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.launch.record import tail_of
from acereason_trainer.launch.verdict import COLLECTIVES, RankEnd
from acereason_trainer.processes import die_with_parent

_LAST_LINE = 300
_STACKS = 1 << 20
"""Bytes at the end of a log in which torch's word about a collective is looked for: the stacks of
all threads stand behind it."""


class BadEnvironment(Exception):
    """The environment does not say what a rank must know; the text says what is missing."""


@dataclass(frozen=True)
class Placement:
    """Where this node stands among those of the attempt."""

    node: int
    nodes: int
    ranks_per_node: int
    master_address: str
    master_port: int

    @property
    def suffix(self) -> str:
        """Keeps the files of several launchers in one directory apart; "" on the first node."""
        return f"-{self.node}" if self.node else ""

    def rank(self, local: int) -> int:
        """Number of a rank among all of the attempt."""
        return self.node * self.ranks_per_node + local

    def variables(self, local: int) -> dict[str, str]:
        """What torchrun would set."""
        return {
            "RANK": str(self.rank(local)),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(self.nodes * self.ranks_per_node),
            "LOCAL_WORLD_SIZE": str(self.ranks_per_node),
            "NODE_RANK": str(self.node),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
        }


def placement(environment: Mapping[str, str], nodes: int, ranks_per_node: int) -> Placement:
    """Read JOB_COMPLETION_INDEX, MASTER_ADDR, MASTER_PORT, as an Indexed Job's pods have them.

    On one node none is needed: the ranks meet on this machine, at a free port. Raises
    BadEnvironment.
    """
    if nodes == 1:
        return Placement(0, 1, ranks_per_node, "127.0.0.1", free_port())
    names = ("JOB_COMPLETION_INDEX", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise BadEnvironment(
            f"{nodes} nodes need {', '.join(missing)} in the environment; an Indexed Job sets the "
            "first, the pod template the others"
        )
    index, address, port = (environment[name] for name in names)
    if not (index.isdigit() and int(index) < nodes and port.isdigit()):
        raise BadEnvironment(
            f"JOB_COMPLETION_INDEX {index!r} must be below {nodes} and MASTER_PORT {port!r} a "
            "number"
        )
    return Placement(int(index), nodes, ranks_per_node, address, int(port))


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    log_before: int
    """Bytes that its log held when it was started."""
    killed: bool = False


@dataclass(frozen=True)
class _Word:
    """Why a rank ends, as it says itself."""

    code: int
    reason: str
    message: str


class Ranks:
    """The running ranks. SIGCHLD, SIGTERM and SIGINT must be blocked in this process."""

    def __init__(self, command: Sequence[str], place: Placement, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._place = place
        self.ended: list[RankEnd] = []
        self._running: list[_Rank] = []
        for local in range(place.ranks_per_node):
            number = place.rank(local)
            self._failure_path(number).unlink(missing_ok=True)
            log = log_path(work_dir, number)
            before = log.stat().st_size if log.exists() else 0
            self._running.append(_Rank(number, self._start(command, local), before))

    @property
    def running(self) -> bool:
        """Whether any rank still runs."""
        return bool(self._running)

    @property
    def failed(self) -> bool:
        """Whether any rank ended badly."""
        return any(end.code for end in self.ended)

    def reap(self) -> None:
        """Take in the ranks that have ended."""
        for rank in list(self._running):
            code = rank.process.poll()
            if code is not None:
                self._running.remove(rank)
                self.ended.append(self._end(rank, code))

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to every running rank."""
        for rank in self._running:
            rank.process.send_signal(number)

    def abort(self) -> None:
        """Have every running rank write its stacks into its log and end."""
        for rank in self._running:
            rank.killed = True
        self.tell(signal.SIGABRT)

    def kill(self) -> None:
        """Kill every running rank with its group. What that ends is ours, not the rank's fault."""
        for rank in self._running:
            rank.killed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.process.pid, signal.SIGKILL)

    def _start(self, command: Sequence[str], local: int) -> subprocess.Popen[bytes]:
        launcher = os.getpid()

        def in_the_rank() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            die_with_parent(launcher)

        path = log_path(self._work_dir, self._place.rank(local))
        with told_when_full(path), path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The launcher has one thread, so nothing can be locked in the fork.
                preexec_fn=in_the_rank,  # noqa: PLW1509
                env={
                    **os.environ,
                    # A crash, or the watchdog's SIGABRT, leaves every thread's stack in the log.
                    "PYTHONFAULTHANDLER": "1",
                    "PYTHONUNBUFFERED": "1",
                    **self._place.variables(local),
                },
            )

    def _end(self, rank: _Rank, code: int) -> RankEnd:
        end = RankEnd(
            rank=rank.number,
            code=code,
            ended_by_us=rank.killed and code < 0,
            last_line=_last_line(log_path(self._work_dir, rank.number)),
            collective=_about_a_collective(log_path(self._work_dir, rank.number), rank.log_before),
        )
        said = _read_failure(self._failure_path(rank.number))
        if code == 0 or said is None:
            return end
        if code < 0:  # its word is its last act: what cut it short afterwards explains nothing
            end = replace(end, code=said.code, ended_by_us=False)
        return replace(end, reason=said.reason, message=said.message)

    def _failure_path(self, rank: int) -> Path:
        return self._work_dir / f"rank-{rank}.failure.json"


def log_path(work_dir: Path, rank: int) -> Path:
    """Where a rank's output goes."""
    return work_dir / f"rank-{rank}.log"


def _read_failure(path: Path) -> _Word | None:
    """What a rank left; None where it left nothing, or was cut while writing."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        return _Word(int(said["exitCode"]), str(said["reason"]), str(said["message"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _last_line(log: Path) -> str:
    lines = [line for line in tail_of(log).splitlines() if line.strip()]
    return lines[-1].strip()[:_LAST_LINE] if lines else ""


def _about_a_collective(log: Path, before: int) -> str:
    """The first line of it behind so many bytes."""
    size = min(log.stat().st_size - before, _STACKS) if log.exists() else 0
    lines = tail_of(log, size).splitlines() if size else []
    found = [line for line in lines if any(words in line for words in COLLECTIVES)]
    return found[0].strip()[:_LAST_LINE] if found else ""
