"""TRL's ways to make a step, a few steps of each: which is its fastest, measured and not said.

Of GRPO: how it draws, and how many responses it trains on at once. Of SFT, in the two modes that
come nearest to ours: into how many parts it divides a step's batch. One after the other, each alone
on the machine. A way that does not work here has its error. TRL can draw with vLLM, too, which its
environment has not: that way is not tried.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.contest import Answer, Contestant, OutOfTurn, in_short, in_turns, versions_of
from benchmarks.intervals import quartiles
from benchmarks.trainer_grpo import WARM_UP, peer
from benchmarks.trainer_models import REAL, TINY, Subject, start_checkpoint
from benchmarks.trainer_sft import BY_LENGTH, batch_of, blocks_of, material, peers_rate
from benchmarks.trainer_sft import WARM_UP as SFT_WARM_UP
from benchmarks.trainer_sft import peer as sft_peer

CONTINUOUS = "continuous batching"
NOT_THE_WAYS = ("ImportError", "ModuleNotFoundError", "TypeError", "AttributeError", "NameError")
"""Errors of an environment or of a setting that TRL does not know: they end the part."""


@dataclass(frozen=True)
class Tried:
    """What is tried of a model."""

    sizes: tuple[int, ...]
    """Responses that TRL trains on at once."""
    turns: int
    others: tuple[str, ...] = ()


TRIED = {
    TINY.name: Tried((32, 64, 128, 256), turns=6, others=(CONTINUOUS,)),
    # A step takes half a minute, and all 32 responses at once some 12 GB.
    REAL.name: Tried((4, 8, 16, 32), turns=3),
}
DIVIDED = (BY_LENGTH, "wrapped")
"""TRL's modes of SFT whose batches are divided in all ways. The others do the same work as one of
these with more padding, and bfd's batch is divided into its rows already."""
SFT_BLOCKS = 3
"""Of the contest's, at most: documents of a block are of all lengths."""


def peer_modes_section(
    subject: Subject, turns: int | None = None, sft_steps: int | None = None
) -> dict[str, Any]:
    """One model: median seconds of each way, or why it failed."""
    start = start_checkpoint(subject, sft_steps)
    turns = turns or TRIED[subject.name].turns
    ways = {
        mode: partial(peer, way, start, 0, turns, changed, log=f"trl {mode}")
        for mode, (way, changed) in modes(subject).items()
    }
    done, failed = _each_alone(ways, turns, subject.name)
    seconds = {mode: _seconds(answers) for mode, answers in done.items()}
    versions = versions_of(done)
    return {"turns": turns, "seconds": seconds, "failed": failed, "peerVersions": versions}


def peer_sft_modes_section(subject: Subject, turns: int | None = None) -> dict[str, Any]:
    """One model: document tokens a second of each way to divide a step's batch, by mode, over the
    first documents of the contest; or why it failed."""
    of = material(subject, subject.sft_turns)
    turns = turns or of.turns * SFT_BLOCKS // blocks_of(of.turns)
    rates: dict[str, dict[str, dict[str, float]]] = {}
    failed: dict[str, str] = {}
    versions: dict[str, str] = {}
    for mode in DIVIDED:
        ways = {
            parts_told(parts): partial(sft_peer, subject, mode, of, parts)
            for parts in divisors(batch_of(subject, mode, of))
        }
        done, why = _each_alone(ways, turns + SFT_WARM_UP, f"{subject.name}, {mode}")
        rates[mode] = {way: peers_rate(answers) for way, answers in done.items()}
        failed |= {f"{mode}, {way}": error for way, error in why.items()}
        versions = versions_of(done)
    return {"turns": turns, "tokensPerSecond": rates, "failed": failed, "peerVersions": versions}


def divisors(number: int) -> list[int]:
    """Into how many like parts so much can be divided."""
    return [n for n in range(1, number + 1) if number % n == 0]


def parts_told(parts: int) -> str:
    """What a way to divide a batch is called."""
    return "at once" if parts == 1 else f"in {parts} parts"


def _each_alone(
    ways: Mapping[str, Callable[[], Contestant]], turns: int, what: str
) -> tuple[dict[str, list[Answer]], dict[str, str]]:
    """What each way's contestant told of its turns, and why others failed."""
    done, failed = {}, {}
    for name, start in ways.items():
        try:
            (done[name],) = in_turns([start()], turns, f"{what}, {name}, turns").values()
        except OutOfTurn:
            raise
        except RuntimeError as error:
            failed[name] = why_not(error)
    if not done:
        raise RuntimeError(f"no way of TRL's works: {failed}")
    return done, failed


def modes(subject: Subject) -> dict[str, tuple[Subject, Mapping[str, Any]]]:
    """What each trains on at once and how it caches, and what else it changes in TRL's settings."""
    tried = TRIED[subject.name]
    plain: Mapping[str, Any] = {}
    growing = replace(subject, peer_cache=None)
    others = {CONTINUOUS: (growing, {"use_transformers_continuous_batching": True})}
    return {
        **{
            way_of(cache, size): (replace(subject, peer_cache=cache, per_device=size), plain)
            for cache in ("static", None)
            for size in tried.sizes
        },
        **{name: others[name] for name in tried.others},
    }


def way_of(cache: str | None, per_device: int) -> str:
    """What a way is called. per_device: responses that it trains on at once."""
    return f"{cache or 'growing'} cache, {per_device} at once"


def why_not(error: RuntimeError) -> str:
    """Why a way does not work here. Raises the error where it says nothing of the way."""
    why = in_short(str(error))
    if any(f"{kind}:" in why for kind in NOT_THE_WAYS):
        raise error
    return why


def _seconds(answers: list[Answer]) -> dict[str, float]:
    return quartiles([a["seconds"] for a in answers[WARM_UP:]], 3)
