"""How much memory a training stage takes, on each GPU and in the host, before it is started.

Arithmetic alone: what is kept of a parameter and of a token, counted from what the code keeps.
tests/trainer/policy/test_memory_plan.py holds it against measured peaks.
"""

from dataclasses import dataclass

from acereason_trainer.config.common import Zero

MASTER = 4
"""Bytes of a float32 number: master weight, each of two moments, accumulated gradient."""
BUCKET = 500_000_000
"""Gradients that DeepSpeed reduces together: as they come, and once more in float32."""
GATHERED = 1_000_000_000
"""Parameters that ZeRO-3 has whole at once, at most."""
STEPPED_AT_ONCE = 1_000_000_000
"""Parameters of a rank that ZeRO-3 steps at once, at most."""
LOGITS_AT_ONCE = 2**26
"""As in head.py, which needs torch."""
PUSHED_AT_ONCE = 10**9
"""As in rollout/weight_buckets.py, which needs torch, too."""
ROLLOUT = 100
"""Bytes of a response's token: an int, a float and their places in two tuples (80), its text (4),
and what a step makes of it (12)."""
JOURNALLED = 80
"""Bytes of one that an earlier attempt drew: the same, in lists."""
PROCESS = 2_000_000_000
"""Of a rank or an engine, before it holds anything: Python, torch and what they have loaded. On a
CPU 0.8 and 1.0 GB; what CUDA adds is an estimate."""

STEP = "more than that, where AdamW steps"
ENGINE_ASLEEP = 3_000_000_000
"""Of vLLM's engine on each GPU while it sleeps: CUDA's context, what NCCL has and the graphs of its
steps, which it does not give back. An estimate."""
FILES = "model's files, as the kernel's cache of them"
COPY = "copy of the state that is being written"
WAITS = "what waits while vllm draws"
DROPPED = (FILES, COPY)
"""Parts of the host's memory that a stage goes on without where there is too little."""


@dataclass(frozen=True)
class Shape:
    """A dense decoder with gated feed-forward layers (Qwen2, Qwen3, Llama)."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    tied: bool = False
    """Whether input and output share one matrix."""

    @property
    def parameters(self) -> int:
        """Weights of all matrices; norms and biases are less than a thousandth."""
        attention = 2 * self.hidden * (self.heads + self.key_heads) * self.head_size
        layer = attention + 3 * self.hidden * self.intermediate
        return self.layers * layer + (1 if self.tied else 2) * self.vocabulary * self.hidden

    def kept_of_a_layer(self, number: int) -> int:
        """Bytes that a layer's backward pass needs of a token, in numbers of `number` bytes.

        Two norms keep their input in float32, its normal form and their output; attention keeps
        queries, keys, values and twice its output; the feed-forward part four inner vectors.
        """
        norms = 2 * (MASTER + 2 * number) * self.hidden
        attention = number * (3 * self.heads + 2 * self.key_heads) * self.head_size
        return norms + attention + 4 * number * self.intermediate


QWEN_7B = Shape(28, 3584, 18944, 28, 4, 128, 152_064)
"""Qwen2.5-7B, and DeepSeek-R1-Distill-Qwen-7B."""
QWEN_14B = Shape(48, 5120, 13824, 40, 8, 128, 152_064)
"""Qwen2.5-14B, and DeepSeek-R1-Distill-Qwen-14B."""


@dataclass(frozen=True)
class Memory:
    """Bytes by what takes them. Whoever reads `gpu` of one process on a CPU reads its memory."""

    gpu: dict[str, int]
    """On each GPU, at the peak of a step."""
    host: dict[str, int]
    """On each node."""
    beside_engine: int
    """Of the trainer on each GPU while vLLM draws there: the weights that it computes with, and
    what it may have whole at once while it hands them over."""


def plan(
    shape: Shape,
    *,
    tokens: int,
    ranks: int = 1,
    ranks_per_node: int = 8,
    zero: Zero | None = None,
    number: int = 2,
    recompute: bool = True,
    drawn: int = 0,
) -> Memory:
    """Memory of a step.

    tokens: of one micro-batch. number: bytes of the model's number format (4: float32, without a
    copy for the optimizer but with ZeRO). zero: None for one process with plain torch. drawn:
    tokens of all responses of an RL step whose engines are vLLM's, one for each rank; 0 where no
    engine draws.
    """
    p = shape.parameters
    own_weights = number == MASTER and zero is None
    state = 2 * MASTER * p + (0 if own_weights else MASTER * p)
    of_tokens = activations(shape, tokens=tokens, number=number, recompute=recompute)
    gpu = {
        **(_alone(p, state, number) if zero is None else _spread(p, state, number, ranks, zero)),
        **of_tokens,
        "an engine that sleeps": ENGINE_ASLEEP if drawn else 0,
        STEP: max(0, _stepped(p, ranks, zero) - sum(of_tokens.values())),
    }
    nodes = max(1, ranks // ranks_per_node)
    offloaded = zero is not None and zero.offload_optimizer
    gradients = MASTER * p if zero is not None and zero.stage == 3 else 0
    host = {
        FILES: number * p,
        "optimizer, offloaded": (state + MASTER * p) // nodes if offloaded else 0,
        COPY: 3 * MASTER * p // nodes,
        WAITS: (state + gradients) // nodes if drawn and not offloaded else 0,
        **(_drawing(number * p, drawn, min(ranks, ranks_per_node)) if drawn else {}),
    }
    return Memory(_taken(gpu), _taken(host), _beside_engine(shape, number, ranks, zero))


def cached(shape: Shape, number: int) -> int:
    """Bytes that an engine's cache takes for a token: its keys and values."""
    return 2 * shape.layers * shape.key_heads * shape.head_size * number


def _beside_engine(shape: Shape, number: int, ranks: int, zero: Zero | None) -> int:
    p = shape.parameters
    if zero is None or zero.stage < 3:
        return number * p
    return number * (p // ranks + min(p, GATHERED))


def _drawing(weights: int, tokens: int, ranks: int) -> dict[str, int]:
    """Beside all else, on a node of so many ranks, each of which has an engine and all rollouts."""
    return {
        "weights on their way to engines": min(PUSHED_AT_ONCE, weights) * ranks,
        "rollouts, on every rank": ROLLOUT * tokens * ranks,
        "those of an earlier attempt, after a resume": JOURNALLED * tokens * ranks,
        "processes of ranks and engines": 2 * PROCESS * ranks,
    }


def _alone(p: int, state: int, number: int) -> dict[str, int]:
    return {
        "weights": number * p,
        "optimizer": state,
        "gradients": MASTER * p + (0 if number == MASTER else number * p),
    }


def _spread(p: int, state: int, number: int, ranks: int, zero: Zero) -> dict[str, int]:
    weights = number * p // ranks + number * min(p, GATHERED) if zero.stage == 3 else number * p
    own = MASTER * p // ranks
    gradients = {
        1: MASTER * p + (0 if number == MASTER else number * p),  # as they came beside their sums
        2: own * (2 if number == MASTER else 1),  # of a micro-batch beside their sums
        3: own,
    }[zero.stage]
    return {
        "weights": weights,
        "optimizer": 0 if zero.offload_optimizer else state // ranks,
        "gradients": gradients,
        "buckets of gradients": (number + MASTER) * min(p, BUCKET),
    }


def _stepped(p: int, ranks: int, zero: Zero | None) -> int:
    """What AdamW makes in a step and lets go of: two numbers for each of the parameters that it
    steps at once, and ZeRO-3 lays out their gradients once more."""
    if zero is None:
        return 2 * MASTER * p
    if zero.offload_optimizer:
        return 0
    return (
        3 * MASTER * min(p // ranks, STEPPED_AT_ONCE)
        if zero.stage == 3
        else (2 * MASTER * p // ranks)
    )


def activations(shape: Shape, *, tokens: int, number: int, recompute: bool) -> dict[str, int]:
    """What a micro-batch's tokens take, at the peak of its backward pass.

    That is where the output matrix is (a bounded number of logits), or in the last layer, whichever
    takes more; by then all that the layers keep is there.
    """
    kept = shape.kept_of_a_layer(number)
    inner = number * (3 * shape.intermediate + 2 * shape.hidden)
    logits = min(LOGITS_AT_ONCE, tokens * shape.vocabulary)
    matrix = shape.vocabulary * shape.hidden
    in_chunk = (3 * MASTER + number) * logits
    head = in_chunk + number * matrix
    if tokens * shape.vocabulary > LOGITS_AT_ONCE:  # the gradients of chunks, summed in float32
        head = max(in_chunk + MASTER * matrix, number * logits + (MASTER + number) * matrix)
    layer = tokens * (inner + (kept if recompute else 0))
    return {
        "kept of the tokens": tokens
        * shape.layers
        * (number * shape.hidden if recompute else kept),
        "the output matrix or a layer": max(head, layer),
    }


def _taken(parts: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in parts.items() if size}
