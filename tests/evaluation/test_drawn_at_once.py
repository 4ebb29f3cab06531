"""How much a measurement draws at once."""

from typing import Any

import pytest
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.dataset import Row
from acereason_trainer.evaluation.batches import Question, batches_of
from acereason_trainer.rollout.protocol import SampleRequest


def asked(set_name: str, number: int) -> list[Question]:
    row = Row("p", {"problem": "?"})
    return [Question(row, SampleRequest("p", (1,), n, n), set_name) for n in range(number)]


def sizes(ranks: int, **settings: Any) -> list[list[str]]:
    """The names of the sets in each batch, of two sets with 2,100 and 40 questions."""
    evaluate = Evaluate.parse({"sets": [{"name": "a", "file": "a.jsonl"}], **settings})
    batches = batches_of([asked("a", 2100), asked("b", 40)], evaluate, ranks)
    return [[q.set_name for q in batch] for batch in batches]


@pytest.mark.parametrize(
    ("ranks", "vllm", "first"),
    [
        (1, {}, 1024),
        (2, {}, 2048),
        (4, {"tensorParallel": 2}, 2048),
        (1, {"maxSequences": 500}, 2000),
        (8, {}, 2140),
    ],
)
def test_engines_draw_four_times_what_they_have_under_way_of_all_sets(
    ranks: int, vllm: dict[str, int], first: int
) -> None:
    batches = sizes(ranks, sampler="vllm", vllm=vllm)
    assert len(batches[0]) == first
    assert [name for batch in batches for name in batch] == ["a"] * 2100 + ["b"] * 40


def test_with_transformers_a_batch_is_of_one_set_and_one_of_the_samplers_for_each_rank() -> None:
    batches = sizes(3, sequencesPerBatch=16)
    assert all(len(set(batch)) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [48] * 43 + [2100 - 43 * 48, 40]
