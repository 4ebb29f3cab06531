"""What the end of all ranks means, as one code of the contract and one sentence. Pure.

The most specific explanation wins: of a rank that says why it stops and peers that died of losing
it, the first is right. Who pays for it is decided by the planner, over all pods of the attempt.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from acereason_trainer.config.exit_codes import CONSEQUENCES, ExitCode

_MEMORY_WORDS = ("OutOfMemoryError", "CUDA out of memory", "MemoryError")
COLLECTIVES = {
    "Watchdog caught collective operation timeout": "HungCollective",
    "ncclRemoteError": "LostPeer",
    "remote process exited or there was a network error": "LostPeer",
}
"""What torch writes before it aborts a process whose NCCL collective cannot end, and what that
means: it is never this rank's fault."""
SAMPLER_DIED = "SamplerDied"
"""A rank's word for an engine that is gone. It does not see what the kernel counts."""


@dataclass(frozen=True)
class RankEnd:
    """How one rank ended."""

    rank: int
    code: int
    """Exit status, or the code that it said; negative: the signal that ended it without a word."""
    ended_by_us: bool = False
    """A signal of the launcher ended it: that says nothing about the rank."""
    reason: str = ""
    """The rank's own word for it (rank-<r>.failure.json)."""
    message: str = ""
    """The rank's own sentence."""
    last_line: str = ""
    """Last line of its log."""
    collective: str = ""
    """A line of its log with one of COLLECTIVES in it."""


@dataclass(frozen=True)
class Circumstances:
    """What else the launcher knows."""

    published: bool
    """The stage's artifact stands in the store."""
    stop_requested: bool = False
    """SIGTERM had arrived."""
    no_progress: str = ""
    """The watchdog ended the attempt after this long."""
    memory_kills: int = 0
    """Processes of this container that the kernel killed for memory meanwhile."""


@dataclass(frozen=True)
class End:
    """The launcher's own end."""

    code: int
    reason: str
    message: str
    rank: int | None = None
    """The rank that it is about."""


def verdict(ends: Sequence[RankEnd], seen: Circumstances) -> End:
    """The verdict over all ranks, `ends` in the order in which they ended.

    A published artifact is a finished stage, whatever happened on the way out. Else: 78, 65, the
    user's fault, 76, 75, 143. Of equal codes CONSEQUENCES say least: their cause is said by another
    rank, which may end later.
    """
    if seen.published:
        return End(ExitCode.DONE, "Done", "the stage's artifact is published")
    found = [_of_rank(end, seen) for end in ends]
    if seen.no_progress:
        found.append(
            End(
                ExitCode.TEMPORARY,
                "NoProgress",
                f"no step for {seen.no_progress}: the ranks were ended; their stacks are in the "
                "logs",
            )
        )
    if not any(v.code for v in found):
        found.append(_nothing_published(seen))
    # min keeps the first of equals: the rank that failed first.
    return min(
        (v for v in found if v.code), key=lambda v: (_precedence(v.code), v.reason in CONSEQUENCES)
    )


def _precedence(code: int) -> int:
    order = (
        ExitCode.BAD_CONFIGURATION,
        ExitCode.CORRUPT_INPUT,
        None,
        ExitCode.HEALTH_STOP,
        ExitCode.TEMPORARY,
        ExitCode.STOPPED,
        ExitCode.DONE,
    )
    return order.index(ExitCode(code)) if code in set(ExitCode) else order.index(None)


def _nothing_published(seen: Circumstances) -> End:
    if seen.stop_requested:
        return End(ExitCode.STOPPED, "Stopped", "stopped on request")
    return End(1, "NothingPublished", "all ranks ended well, but published no artifact")


def _of_rank(end: RankEnd, seen: Circumstances) -> End:
    if end.ended_by_us:
        return End(
            ExitCode.STOPPED,
            "Killed",
            f"rank {end.rank} did not end in time and was killed",
            end.rank,
        )
    if end.code < 0:
        return _of_signal(end, -end.code, seen)
    if end.code == 0:
        return End(ExitCode.DONE, "Done", "", end.rank)
    if end.message:
        return _of_word(end, seen)
    if end.code == ExitCode.STOPPED:
        return End(end.code, "Stopped", "stopped on request", end.rank)
    out_of_memory = any(word in end.last_line for word in _MEMORY_WORDS)
    last_words = f": {end.last_line}" if end.last_line else " without a word"
    return End(
        end.code,
        "OutOfMemory" if out_of_memory else "Failed",
        f"rank {end.rank} ended with {end.code}{last_words}",
        end.rank,
    )


def _of_word(end: RankEnd, seen: Circumstances) -> End:
    if end.reason == SAMPLER_DIED and seen.memory_kills:
        return End(
            128 + signal.SIGKILL,
            "OutOfMemory",
            f"{end.message}; the kernel has killed for memory meanwhile: raise "
            "resources.limits.memory, or lower vllm.cacheGib where engines run on CPUs",
            end.rank,
        )
    return End(end.code, end.reason or "Failed", end.message, end.rank)


def _of_signal(end: RankEnd, number: int, seen: Circumstances) -> End:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGTERM:
        return End(ExitCode.STOPPED, "Stopped", f"rank {end.rank} was stopped", end.rank)
    if number == signal.SIGABRT and end.collective:
        return End(
            ExitCode.TEMPORARY,
            next(word for said, word in COLLECTIVES.items() if said in end.collective),
            f"rank {end.rank} was ended within a collective: {end.collective}",
            end.rank,
        )
    if number != signal.SIGKILL:
        return End(
            128 + number,
            "Crashed",
            f"rank {end.rank} crashed ({name}); its stack is in its log",
            end.rank,
        )
    if seen.memory_kills:
        return End(
            128 + number,
            "OutOfMemory",
            f"rank {end.rank} was killed for memory; lower the batch or raise "
            "resources.limits.memory",
            end.rank,
        )
    return End(
        ExitCode.TEMPORARY,
        "Killed",
        f"rank {end.rank} was killed from outside ({name}), not for this container's memory",
        end.rank,
    )
