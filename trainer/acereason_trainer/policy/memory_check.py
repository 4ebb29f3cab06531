"""Whether a stage fits its GPUs and nodes, by the plan (memory_plan.py), before anything is loaded.

Said and not enforced: the plan is arithmetic, and what runs out of memory says so by itself.
"""

import math
from typing import Any

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.policy.memory_plan import (
    DROPPED,
    ENGINE_ASLEEP,
    Memory,
    Shape,
    cached,
    plan,
)

SHARE = 0.9
"""Of a GPU's memory; the rest is for CUDA itself and for what its allocator cannot use."""
WORKSPACE = 3_000_000_000
"""Of an engine beside weights and cache: logits of the responses that it decodes at once, and what
its kernels need. An estimate."""
GIB = 2**30
FEWEST_TOKENS = 1024
"""Fewer in a micro-batch save nothing worth the time."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Configurations of models that the plan is not for."""


def shape_of(config: Any) -> Shape | None:
    """Of a model's text configuration; None for one that is no plain dense decoder."""
    named = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    numbers = [int(getattr(config, name, None) or 0) for name in named]
    if not all(numbers) or any((getattr(config, name, None) or 0) > 1 for name in EXPERTS):
        return None
    layers, hidden, intermediate, heads = numbers
    return Shape(
        layers,
        hidden,
        intermediate,
        heads,
        getattr(config, "num_key_value_heads", None) or heads,
        getattr(config, "head_dim", None) or hidden // heads,
        config.vocab_size,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
    )


def what_a_stage_lacks(
    shape: Shape,
    settings: SFT | RL,
    *,
    zero: Zero | None,
    recompute: bool,
    number: int,
    ranks: int,
    ranks_per_node: int,
    gpu: int,
    host: int,
) -> list[str]:
    """A sentence for each kind of memory that a stage is planned to have too little of.

    zero, recompute: as the policy is made with, where the settings leave them open. number: bytes
    of the model's number format. gpu: bytes of one. host: bytes of a node.
    """
    engines = _engines(settings)
    spread: dict[str, Any] = {"ranks": ranks, "zero": zero, "number": number}
    of_a_step = {**spread, "tokens": settings.tokens_per_micro_batch, "recompute": recompute}
    longest, asleep = _longest(settings), ENGINE_ASLEEP if engines else 0
    if isinstance(settings, RL) and engines is None and zero is not None and zero.stage == 3:
        asleep = number * shape.parameters  # the transformers sampler's own model
    drawn = _drawn(settings) if engines else 0
    memory = plan(shape, **of_a_step, ranks_per_node=ranks_per_node, drawn=drawn)
    sentences = [
        what_does_not_fit(shape, **of_a_step, gpu=gpu, longest=longest, sampler=asleep),
        what_engines_leave_no_room_for(
            shape,
            memory,
            gpu=gpu,
            vllm=engines,
            longest=longest,
            ranks_per_node=ranks_per_node,
            **spread,
        )
        if engines
        else None,
        what_the_host_lacks(memory, host=host),
    ]
    return [sentence for sentence in sentences if sentence]


def what_does_not_fit(
    shape: Shape,
    *,
    gpu: int,
    tokens: int,
    longest: int,
    ranks: int,
    zero: Zero | None,
    number: int,
    recompute: bool,
    sampler: int = 0,
) -> str | None:
    """One sentence where a step is planned to take more than a GPU has; None where it fits.

    gpu: bytes of one. tokens: of a micro-batch. longest: tokens of the longest sequence, which is a
    micro-batch of its own where it is longer. sampler: bytes of what a sampler keeps there during
    the step. The other arguments are those of `plan`.
    """
    most, least = max(tokens, longest), max(FEWEST_TOKENS, longest)

    def taken(tokens: int) -> int:
        told = plan(
            shape, tokens=tokens, ranks=ranks, zero=zero, number=number, recompute=recompute
        )
        return sampler + sum(told.gpu.values())

    if taken(most) <= SHARE * gpu:
        return None
    fewer = max(most // 2, least)
    while fewer > least and taken(fewer) > SHARE * gpu:
        fewer = max(fewer // 2, least)
    if fewer < most and taken(fewer) <= SHARE * gpu:
        advice = f"lower tokensPerMicroBatch (now {tokens:,}) to {fewer:,}"
    elif not recompute:
        advice = "set activationCheckpointing, or use more GPUs"
    elif zero is None or zero.stage < 3:
        advice = "use more GPUs with zero.stage 3"
    elif not zero.offload_optimizer:
        advice = "use more GPUs, or set zero.offloadOptimizer"
    else:
        advice = "use more GPUs"
    what = "a step" if longest <= tokens else f"a step with a sequence of {longest:,} tokens"
    return (
        f"{what} is planned to take {taken(most) / 1e9:.0f} GB of each GPU, and of its "
        f"{gpu / 1e9:.0f} GB it can have {SHARE * gpu / 1e9:.0f}; before it runs out of memory, "
        f"{advice}"
    )


def what_engines_leave_no_room_for(
    shape: Shape,
    memory: Memory,
    *,
    gpu: int,
    vllm: VLLM,
    longest: int,
    ranks: int,
    ranks_per_node: int,
    zero: Zero | None,
    number: int,
) -> str | None:
    """One sentence where what the trainer keeps on a GPU while vLLM draws is planned to be more
    than an engine leaves of it; None where it fits.

    gpu: bytes of one. longest: tokens of the longest sequence. The others are those of `plan`.
    """
    size = vllm.tensor_parallel
    if vllm.cache_gib is None:
        engine = int(vllm.memory_share * gpu)
    else:
        engine = number * shape.parameters // size + int(vllm.cache_gib * GIB) + WORKSPACE
    left = int(SHARE * gpu) - engine
    if memory.beside_engine <= left:
        return None
    room = int(SHARE * gpu) - memory.beside_engine

    def lowered(gpus: int) -> str | None:
        """What an engine over so many GPUs may take; None where it has no room for itself."""
        weights = number * shape.parameters // gpus
        # A head of keys is whole: GPUs beyond their number have copies.
        response = cached(shape, number) * longest // min(gpus, shape.key_heads)
        if vllm.cache_gib is None:
            share = int(20 * room / gpu) / 20
            enough = share * gpu >= weights + WORKSPACE + response
            said = f"lower vllm.memoryShare (now {vllm.memory_share:g}) to {share:g}"
        else:
            gib = (room - weights - WORKSPACE) // GIB
            enough = gib * GIB >= max(response, GIB)
            said = f"lower vllm.cacheGib (now {vllm.cache_gib:g}) to {gib}"
        return said if enough else None

    largest = math.gcd(ranks_per_node, shape.heads)  # it must divide both
    if lower := lowered(size):
        advice = lower
    elif ranks > 1 and zero is not None and zero.stage < 3:
        advice = "use zero.stage 3"
    elif size < largest and lowered(largest):
        advice = f"raise vllm.tensorParallel (now {size})"
    else:
        advice = "use more GPUs, or larger ones"
    return (
        f"{memory.beside_engine / 1e9:.0f} GB of the trainer are planned to stay on each GPU "
        f"while vllm draws, which leaves {max(left, 0) / 1e9:.0f}; before it runs out of memory, "
        f"{advice}"
    )


def what_the_host_lacks(memory: Memory, *, host: int) -> str | None:
    """One sentence where a stage is planned to take more of a node's memory than it has; None where
    it fits. What the kernel may drop, and a copy that is made where there is room, don't count.

    host: bytes that are available.
    """
    parts = {name: size for name, size in memory.host.items() if name not in DROPPED}
    if sum(parts.values()) <= host:
        return None
    most = max(parts, key=lambda name: parts[name])
    return (
        f"{sum(parts.values()) / 1e9:.0f} GB are planned to be in the host's memory (the most, "
        f"{parts[most] / 1e9:.0f}: {most}), and {host / 1e9:.0f} are available; use more nodes, "
        "or nodes with more memory"
    )


def _engines(settings: SFT | RL) -> VLLM | None:
    """Settings of engines that draw on the same GPUs; None where there are none."""
    if isinstance(settings, RL) and settings.sampler == "vllm":
        return settings.vllm or VLLM()
    return None


def _drawn(settings: SFT | RL) -> int:
    """Tokens of the responses of a step, each half as long as it may be."""
    assert isinstance(settings, RL)
    group = max(settings.group_size.per_epoch or [settings.group_size.fixed or 0])
    return settings.prompts_per_step * group * settings.max_response_tokens // 2


def _longest(settings: SFT | RL) -> int:
    """Tokens that one sequence may have."""
    if isinstance(settings, SFT):
        return settings.row_tokens
    return settings.max_prompt_tokens + settings.max_response_tokens
