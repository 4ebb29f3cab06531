"""Writes docs/memory.md from the plan: `python -m acereason_trainer.policy.memory_page`."""

from pathlib import Path

from acereason_trainer.config.common import Zero
from acereason_trainer.policy.memory_plan import QWEN_7B, QWEN_14B, Memory, plan

PAGE = Path("docs/memory.md")
TOKENS = 32_768
RANKS = 8
MODELS = {"Qwen2.5-7B": QWEN_7B, "Qwen2.5-14B": QWEN_14B}
WAYS = {
    "ZeRO-2": Zero(stage=2),
    "ZeRO-3 (default)": Zero(stage=3),
    "ZeRO-3, `offloadOptimizer`": Zero(stage=3, offload_optimizer=True),
}

HEAD = f"""# Memory of a training stage

What a step takes on each GPU, and what the host must have beside it, for the papers' models:
micro-batches of {TOKENS:,} tokens (`tokensPerMicroBatch`) in bfloat16 on one node of {RANKS} GPUs,
activation checkpointing as several ranks have it by default. Numbers are GB (10^9 bytes) from
`policy/memory_plan.py`, which tests hold against measured peaks at sizes that fit this repository's
machines; on GPUs they are not measured yet. Leave a tenth of a GPU for CUDA itself and for what its
allocator cannot use, so an 80 GB GPU holds about 72. This page is generated (`make generate`).
"""

TAIL = """
## What grows with what

- **Weights, optimizer, gradients** take 2, 12 and 4 bytes per parameter, divided by the ranks where
  ZeRO divides them: stage 1 the optimizer, stage 2 also the gradients, stage 3 also the weights.
- **Kept of the tokens**: with activation checkpointing one hidden vector per layer and token;
  without, twenty to thirty times as much.
- **The output matrix or a layer**: the larger of one layer's backward pass and that of the output
  matrix. Logits are made at most 67 million at once (441 tokens of Qwen's vocabulary), so that part
  does not grow with the micro-batch.
- Attention keeps no mask in `layout: packed`, which GPUs have by default. In `padded`, a row that
  holds several documents has a mask of one byte for each pair of its tokens: 1.1 GB at 32K.

With twice the tokens in a micro-batch, the last two double and nothing else does.

## The host

- **The model's files**: ranks read them through one map that the kernel shares among them and may
  drop. A model whose files have another number format than `loading.dtype` is converted first, and
  each rank then holds a whole copy until it has taken its share.
- **The copy of the state that is being written**: weights and moments in float32, over all ranks of
  a node. It exists while a state is written beside training. Where less than that, and a quarter
  more, is available, training waits for the disk instead and the log says so.
- The transformers sampler draws with a whole model in each rank's GPU, ZeRO-3 or not: add 2 bytes
  per parameter and its cache. The vllm sampler has memory of its own while training gives up its.
"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name, shape in MODELS.items():
        plans = {way: plan(shape, tokens=TOKENS, ranks=RANKS, zero=z) for way, z in WAYS.items()}
        parts.append(f"\n## {name}: {shape.parameters / 1e9:.1f} billion parameters\n\n")
        parts.append(_table(plans))
    return "".join(parts) + TAIL


def _table(plans: dict[str, Memory]) -> str:
    lines = [f"| | {' | '.join(plans)} |", "|---" * (len(plans) + 1) + "|"]
    for where, total in (("gpu", "each GPU"), ("host", "the host")):
        columns = [getattr(memory, where) for memory in plans.values()]
        for part in dict.fromkeys(part for column in columns for part in column):
            cells = [f"{column[part] / 1e9:.1f}" if part in column else "" for column in columns]
            lines.append(f"| {part} | {' | '.join(cells)} |")
        sums = [f"**{sum(column.values()) / 1e9:.0f}**" for column in columns]
        lines.append(f"| **{total}** | {' | '.join(sums)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
