"""Writes docs/memory.md from the plan: `python -m acereason_trainer.policy.memory_page`."""

from pathlib import Path

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.policy.memory_check import WORKSPACE
from acereason_trainer.policy.memory_plan import (
    QWEN_7B,
    QWEN_14B,
    WAITS,
    Memory,
    Shape,
    cached,
    plan,
)

PAGE = Path("docs/memory.md")
GPU = 80e9
SHARE: float = VLLM.model_fields["memory_share"].default
TOKENS: int = RL.model_fields["tokens_per_micro_batch"].default
RANKS = 8
RESPONSES, RESPONSE = 128 * 16, 16_384
"""Of the papers' largest step, and half of the tokens that a response may have at 32K."""
MODELS = {"Qwen2.5-7B": QWEN_7B, "Qwen2.5-14B": QWEN_14B}
BUS = 5e9
"""Bytes a second between a GPU and memory that CUDA has not locked, one way: an estimate."""
DRAWN = 100
"""Tokens a second of each response that is being drawn: an assumption."""
BY_DEFAULT = "ZeRO-3 (default)"
WAYS = {
    "ZeRO-2": Zero(stage=2),
    BY_DEFAULT: Zero(stage=3),
    "ZeRO-3, `offloadOptimizer`": Zero(stage=3, offload_optimizer=True),
}

HEAD = f"""# Memory of a training stage

What a step takes on each GPU, and what the host must have beside it, for the papers' models:
micro-batches of {TOKENS:,} tokens (the default) in bfloat16 on one node of {RANKS} GPUs,
activation checkpointing as several ranks have it by default. A step of RL draws, with vLLM,
{RESPONSES:,} responses (128 prompts, 16 of each) of {RESPONSE:,} tokens on average.

Numbers are GB (10^9 bytes) from `policy/memory_plan.py`, which tests hold against measured peaks at
sizes that fit this repository's machines (of the host the copy of a state, what waits while vllm
draws, and rollouts); on GPUs they are not measured yet. Leave a tenth of a GPU for CUDA itself and
for what its allocator cannot use, so an 80 GB GPU holds about 72. This page is generated (`make
generate`).
"""

TAIL = """
## What grows with what

- **Weights, optimizer, gradients** take 2, 12 and 4 bytes per parameter, divided by the ranks where
  ZeRO divides them: stage 1 the optimizer, stage 2 also the gradients, stage 3 also the weights.
  With stage 1 every rank has the gradients of a micro-batch beside their sums, 2 bytes more.
- **Where AdamW steps** it makes two float32 numbers for each parameter of a rank, and stage 3 lays
  out the gradients once more, a billion parameters at once at most. By then what is kept of the
  tokens is gone, so only what exceeds that counts.
- **Kept of the tokens**: with activation checkpointing one hidden vector per layer and token;
  without, twenty to thirty times as much.
- **The output matrix or a layer**: the larger of one layer's backward pass and that of the output
  matrix. Logits are made at most 67 million at once (441 tokens of Qwen's vocabulary), so that part
  does not grow with the micro-batch; its gradient is summed in float32 and then rounded.
- **An engine that sleeps** has given back weights and cache, not CUDA's context, what NCCL has and
  the graphs of its steps: an estimate. SFT has none.
- Attention keeps no mask in `layout: packed`, the default. In `padded`, a row that holds several
  documents has a mask of one byte for each pair of its tokens: 1.1 GB at 32K.

With twice the tokens in a micro-batch, the last two double and nothing else does: at 65,536 tokens
Qwen2.5-14B no longer fits eight GPUs of 80 GB. A response longer than `tokensPerMicroBatch` is a
micro-batch of its own. A stage whose step does not fit its GPUs by this plan says so in its log
before it loads the model, and what would; so does one whose engines leave too little of a GPU for
the weights that the trainer keeps there, or that needs more of the host than is available (beside
what the kernel may drop and the copy of a state; responses half as long as they may be).

## The host

- **The model's files**: ranks read them through one map that the kernel shares among them and may
  drop. A model whose files have another number format than `loading.dtype` is converted first, and
  each rank then holds a whole copy until it has taken its share.
- **The copy of the state that is being written**: weights and moments in float32, over all ranks of
  a node. Each rank lets its part go when it has written it. Where less than the copy and what waits
  while vllm draws, and a quarter more, is available, training waits for the disk instead and the
  log says so.
- **What waits while vllm draws**: float32 weights and moments, with ZeRO-3 the gradients too; with
  any stage of ZeRO, and with one rank. On the GPU stay the weights that the model computes with,
  and the engine has the rest.
- **Weights on their way to engines**: each rank that has an engine shares a bucket of 1 GB with it,
  which stays filled.
- **Rollouts**: every rank has those of the whole step, as Python's numbers: about 100 bytes for
  each token of a response. Twice the responses, or responses of twice the length, take twice as
  much. After a resume every rank also holds, for that one step, what the earlier attempt had drawn.
- **Processes**: a rank and its engine each have Python, torch and the libraries of the GPU before
  they hold anything of a model. SFT has no engines and no rollouts, and the transformers sampler
  no engines.
- **Workers that check answers** are not counted here: `verifier.workers` processes, each up to its
  own limit.
- **Training on a CPU** takes up to twice what the tensors of a step do: with activation
  checkpointing a step of 171 MiB of tensors (planned: 192) grew the process by 388, of which it
  kept 372 after the step, all of it free. The C library's allocator holds that for the next step.
- **Where a model is only measured** (`evaluate`, `passRate`) an engine has the GPU for itself: the
  model that hands over its weights leaves it first, and stays in the host's memory as a map of its
  files, one for all ranks of a node (a copy for each, where the files have another number format
  than `loading.dtype`). Every rank has the text of all answers of a batch, and the
  tokens of those that it drew.
- The transformers sampler draws with a whole model on each rank's GPU. With ZeRO-3 that is a model
  of its own beside the rank's share, from the first drawing to the end of the stage: add 2 bytes
  per parameter to each GPU (15 GB for Qwen2.5-7B, 30 GB for Qwen2.5-14B) and its cache. ZeRO-1 and
  2 draw with the weights that they have. The vllm sampler has memory of its own while training
  gives up its.
"""

PUSHES = f"""
## What a push moves

An estimate: no GPU has measured it. In each step, over the bus of each GPU, all at the same time
where each rank has an engine: the weights go to the rank's bucket, and from there to its engine on
the same GPU, one bucket after the other; what waits while vllm draws goes to the host before the
drawing and comes back after it. Gathering weights from other ranks is not counted. Assumed are
{BUS / 1e9:.0f} GB a second, since none of that memory is locked for CUDA (what is locked is known
to be several times as fast), and of the drawing of the step above, {DRAWN} tokens a second of each
response that the engines have room for.

"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name, shape in MODELS.items():
        plans = {way: _plan(shape, zero) for way, zero in WAYS.items()}
        parts.append(f"\n## {name}: {shape.parameters / 1e9:.1f} billion parameters\n\n")
        parts.append(_table(plans))
        parts.append(_of_an_engine(shape))
    return "".join(parts) + TAIL + _pushes()


def _of_an_engine(shape: Shape) -> str:
    response = cached(shape, 2) * TOKENS
    return (
        f"\nAn engine has {SHARE:g} of an {GPU / 1e9:.0f} GB GPU (`vllm.memoryShare`): beside its "
        f"weights and {WORKSPACE / 1e9:.0f} GB\nto work with, a cache for "
        f"{int(_cache(shape) / response)} responses of {TOKENS:,} tokens, which take "
        f"{response / 1e9:.1f} GB each;\nothers wait.\n"
    )


def _cache(shape: Shape) -> float:
    """Bytes of an engine's cache."""
    return SHARE * GPU - 2 * shape.parameters - WORKSPACE


def _pushes() -> str:
    rows: dict[str, list[str]] = {}
    for shape in MODELS.values():
        weights = 2 * 2 * shape.parameters
        waits = 2 * _plan(shape, WAYS[BY_DEFAULT]).host[WAITS] / RANKS
        at_once = _cache(shape) / cached(shape, 2) / RESPONSE
        drawing = RESPONSES / RANKS / at_once * RESPONSE / DRAWN
        for row, told in (
            ("weights, to the bucket and from it, GB", f"{weights / 1e9:.0f}"),
            ("what waits while vllm draws, there and back, GB", f"{waits / 1e9:.0f}"),
            (f"seconds at {BUS / 1e9:.0f} GB a second", f"{(weights + waits) / BUS:.0f}"),
            ("of these, the weights'", f"{weights / BUS:.0f}"),
            ("drawing, seconds", f"{drawing:,.0f}"),
        ):
            rows.setdefault(row, []).append(told)
    lines = [f"| | {' | '.join(MODELS)} |", "|---" * (len(MODELS) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(cells)} |" for row, cells in rows.items()]
    return PUSHES + "\n".join(lines) + "\n"


def _plan(shape: Shape, zero: Zero) -> Memory:
    return plan(shape, tokens=TOKENS, ranks=RANKS, zero=zero, drawn=RESPONSES * RESPONSE)


def _table(plans: dict[str, Memory]) -> str:
    lines = [f"| | {' | '.join(plans)} |", "|---" * (len(plans) + 1) + "|"]
    for where, total in (("gpu", "each GPU"), ("host", "the host")):
        columns = [getattr(memory, where) for memory in plans.values()]
        for part in dict.fromkeys(part for column in columns for part in column):
            cells = [f"{column[part] / 1e9:.1f}" if part in column else "" for column in columns]
            lines.append(f"| {part} | {' | '.join(cells)} |")
        sums = [f"**{sum(column.values()) / 1e9:.0f}**" for column in columns]
        lines.append(f"| **{total}** | {' | '.join(sums)} |")
        if where == "gpu":
            beside = [f"{memory.beside_engine / 1e9:.1f}" for memory in plans.values()]
            lines.append(f"| each GPU, of the trainer while vllm draws | {' | '.join(beside)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
