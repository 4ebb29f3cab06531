"""What a measurement asks a model, and how much of it is drawn at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acereason_trainer.config.common import Prompting
from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.dataset import Row
from acereason_trainer.prompting import render_prompt
from acereason_trainer.rollout.protocol import SampleRequest
from acereason_trainer.seeds import draw_seed

ENGINES_FULL = 4
"""How many times as many answers are drawn at once as vLLM's engines have under way at most: so
that they spend a small part of the time on the last few. The tokens of two such batches take 3 GB
of a host's memory for each engine by default, were all of 20,000 tokens."""


@dataclass(frozen=True)
class Question:
    """One answer to draw and check."""

    row: Row
    request: SampleRequest
    set_name: str
    """What it is asked for: rows of two sets may have the same id."""


Batch = Sequence[Question]


def questions(
    set_name: str,
    rows: Sequence[Row],
    samples: int,
    prompting: Prompting,
    tokenizer: Any,
    name: tuple[str | int, ...],
) -> list[Question]:
    """`samples` questions for each row, side by side; `name` is what the draws are for."""
    out = []
    for row in rows:
        prompt = tuple(render_prompt(row, prompting, tokenizer))
        requests = [
            SampleRequest(row.id, prompt, n, draw_seed(*name, row.id, n)) for n in range(samples)
        ]
        out += [Question(row, request, set_name) for request in requests]
    return out


def in_batches(asked: Sequence[Question], size: int) -> list[Batch]:
    """Cut into batches of `size`, the last one smaller."""
    return [asked[i : i + size] for i in range(0, len(asked), size)]


def batches_of(
    sets: Sequence[Sequence[Question]], settings: Evaluate | PassRate, ranks: int
) -> list[Batch]:
    """What all ranks are given together: before the next batch they wait for one another.

    vLLM draws all sets as one sequence, since the last few answers of each batch leave engines
    idle. With transformers a batch is one of the sampler's for each rank, and of one set, so that
    what is drawn beside an answer is always the same.
    """
    if settings.sampler == "vllm":
        vllm = settings.vllm or VLLM()
        under_way = ranks // vllm.tensor_parallel * vllm.max_sequences
        return in_batches([q for asked in sets for q in asked], ENGINES_FULL * under_way)
    return [b for asked in sets for b in in_batches(asked, settings.sequences_per_batch * ranks)]


def drawn_together(settings: Evaluate | PassRate) -> int:
    """Answers, counted from the first of a batch, that come out the same only if they are drawn
    beside one another."""
    return 1 if settings.sampler == "vllm" else settings.sequences_per_batch
