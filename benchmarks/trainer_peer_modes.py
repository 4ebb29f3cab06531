"""TRL's ways to make a step, a few steps of each: which is its fastest, measured and not said.

Of GRPO: how it draws, and how many responses it trains on at once. Of SFT, in the two modes that
come nearest to ours: into how many parts it divides a step's batch. One after the other, each alone
on the machine. A way that does not work here has its error.

TRL with vLLM in its process does not work on a CPU: vLLM packs its weights there and drops what it
has loaded, so TRL's first push finds nothing to load into. It ended so with vLLM 0.32 (its torch
and transformers are the project's), with either of TRL's `vllm_model_impl`, and with vLLM 0.31, the
newest that TRL 1.16 supports. With `vllm_enable_sleep_mode` vLLM does not start without a GPU. Once
such a way works, its draws are to be held against the pushed model before its time counts. TRL's
other way to vLLM, a server, is not tried: TRL pushes to it by NCCL, and itself asks for a GPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from benchmarks.contest import Answer, Contestant, OutOfTurn, in_short, in_turns, versions_of
from benchmarks.intervals import quartiles
from benchmarks.trainer_grpo import WARM_UP, peer
from benchmarks.trainer_models import REAL, TINY, Subject, start_checkpoint
from benchmarks.trainer_sft import BY_LENGTH, batch_of, blocks_of, divisors, material, peers_rate
from benchmarks.trainer_sft import WARM_UP as SFT_WARM_UP
from benchmarks.trainer_sft import peer as sft_peer

CONTINUOUS = "continuous batching"
VLLM = "vLLM colocated"
NOT_THE_WAYS = ("ImportError", "ModuleNotFoundError", "TypeError", "AttributeError", "NameError")
"""Errors of an environment or of a setting that TRL does not know: they end the part."""
THE_WAYS = "object has no attribute 'weight_loader'"
"""In the one AttributeError that is a way's: vLLM's, at a push of weights that it has no room for
any more."""


@dataclass(frozen=True)
class Tried:
    """What is tried of a model."""

    sizes: tuple[int, ...]
    """Responses that TRL trains on at once."""
    turns: int
    others: tuple[str, ...]
    """Names of modes() that draw in another way."""


TRIED = {
    TINY.name: Tried((32, 64, 128, 256), turns=6, others=(CONTINUOUS, VLLM)),
    # A step takes half a minute, and all 32 responses at once some 12 GB.
    REAL.name: Tried((4, 8, 16, 32), turns=3, others=(VLLM,)),
}


@dataclass(frozen=True)
class Way:
    """How TRL makes a step."""

    subject: Subject
    """With what it trains on at once, and how it caches."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Of TRL's settings."""
    needs: str = "trl"
    """The peers' environment that it runs in. vLLM's takes seconds where uv has its packages, which
    are nearly all of ours or of TRL's, else one large download."""


DIVIDED = (BY_LENGTH, "wrapped")
"""TRL's modes of SFT whose batches are divided in all ways. `padded` does the first one's work with
more padding. Of bfd the contest has both ends: a batch as one long masked row, and row by row."""
SFT_BLOCKS = 3
"""Of the contest's: the documents of each are of all lengths."""


def peer_modes_section(
    subject: Subject, turns: int | None = None, sft_steps: int | None = None
) -> dict[str, Any]:
    """One model: median seconds of each way, or why it failed."""
    start = start_checkpoint(subject, sft_steps)
    turns = turns or TRIED[subject.name].turns
    ways = {
        mode: partial(
            peer, way.subject, start, 0, turns, way.changed, needs=way.needs, log=f"trl {mode}"
        )
        for mode, way in modes(subject).items()
    }
    done, failed = _each_alone(ways, turns, subject.name)
    seconds = {mode: _seconds(answers) for mode, answers in done.items()}
    versions = versions_of(done)
    return {"turns": turns, "seconds": seconds, "failed": failed, "peerVersions": versions}


def peer_sft_modes_section(subject: Subject, turns: int | None = None) -> dict[str, Any]:
    """One model: document tokens a second of each way to divide a step's batch, by mode, over the
    first documents of the contest; or why it failed."""
    of = material(subject, subject.sft_turns)
    block = of.turns // blocks_of(of.turns)
    turns = turns or SFT_BLOCKS * block
    rates: dict[str, dict[str, dict[str, float]]] = {}
    failed: dict[str, str] = {}
    versions: dict[str, str] = {}
    for mode in DIVIDED:
        ways = {
            parts_told(parts): partial(sft_peer, subject, mode, of, parts)
            for parts in divisors(batch_of(subject, mode, of))
        }
        done, why = _each_alone(ways, turns + SFT_WARM_UP, f"{subject.name}, {mode}")
        blocks = max(1, turns // block)
        rates[mode] = {way: peers_rate(answers, blocks) for way, answers in done.items()}
        failed |= {f"{mode}, {way}": error for way, error in why.items()}
        versions = versions_of(done)
    return {"turns": turns, "tokensPerSecond": rates, "failed": failed, "peerVersions": versions}


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


def modes(subject: Subject) -> dict[str, Way]:
    """All that are tried of a model, by their names."""
    tried = TRIED[subject.name]
    growing = replace(subject, peer_cache=None)
    others = {
        CONTINUOUS: Way(growing, {"use_transformers_continuous_batching": True}),
        VLLM: Way(growing, {"use_vllm": True, "vllm_mode": "colocate"}, needs="trl-vllm"),
    }
    return {
        **{
            way_of(cache, size): Way(replace(subject, peer_cache=cache, per_device=size))
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
    if THE_WAYS not in why and any(f"{kind}:" in why for kind in NOT_THE_WAYS):
        raise error
    return why


def _seconds(answers: list[Answer]) -> dict[str, float]:
    return quartiles([a["seconds"] for a in answers[WARM_UP:]], 3)
