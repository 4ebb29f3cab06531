"""Whether a stage's step fits its GPU, by the plan (memory_plan.py), before anything is loaded.

Said and not enforced: the plan is arithmetic, and what runs out of memory says so by itself.
"""

from typing import Any

from acereason_trainer.config.common import Zero
from acereason_trainer.policy.memory_plan import OFFLOADED, WAITING, Memory, Shape, plan

SHARE = 0.9
"""Of a GPU's memory; the rest is for CUDA itself and for what its allocator cannot use."""
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
) -> str | None:
    """One sentence where a step is planned to take more than a GPU has; None where it fits.

    gpu: bytes of one. tokens: of a micro-batch. longest: tokens of the longest sequence, which is a
    micro-batch of its own where it is longer. The other arguments are those of `plan`.
    """
    most, least = max(tokens, longest), max(FEWEST_TOKENS, longest)

    def taken(tokens: int) -> int:
        told = plan(
            shape, tokens=tokens, ranks=ranks, zero=zero, number=number, recompute=recompute
        )
        return sum(told.gpu.values())

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


def what_does_not_fit_beside_engines(
    memory: Memory, *, gpu: int, memory_share: float, host: int
) -> str | None:
    """One sentence where what the trainer keeps while vLLM draws is planned to be more than engines
    leave of a GPU, or more than the host has; None where it fits.

    gpu: bytes of one. host: bytes that are available on a node. memory_share: of the engine.
    """
    left = SHARE * gpu - memory_share * gpu
    if memory.beside_engine > left:
        share = int((SHARE - memory.beside_engine / gpu) * 20) / 20
        advice = "use zero.stage 3"
        if share > 0:
            advice = f"lower vllm.memoryShare (now {memory_share:g}) to {share:g}"
        return (
            f"{memory.beside_engine / 1e9:.0f} GB of the trainer are planned to stay on each GPU "
            f"while vllm draws, which leaves {max(left, 0) / 1e9:.0f}; before it runs out of "
            f"memory, {advice}"
        )
    waits = memory.host.get(WAITING, 0) + memory.host.get(OFFLOADED, 0)
    if waits > host:
        return (
            f"{waits / 1e9:.0f} GB of optimizer and gradients are planned to be in the host's "
            f"memory while vllm draws, and {host / 1e9:.0f} are available; use more nodes, "
            "or nodes with more memory"
        )
    return None
