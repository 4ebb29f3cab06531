"""Rows become documents: which are learned, in which order, and how much each token weighs."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import SFT
from acereason_trainer.dataset import Row
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.sft.documents import ROWS_AT_ONCE, Documents
from acereason_trainer.sft.loop import as_batch
from acereason_trainer.stage import StageFailure, Stopped

Made = Callable[..., Documents]


def problems(count: int, response: str = "x") -> list[tuple[Row, int]]:
    """Rows, each once; response n is n times the same text, so that lengths differ."""
    return [
        (Row(f"r{n}", {"problem": f"Problem {n}", "response": response * (n % 7 + 1)}), 1)
        for n in range(count)
    ]


@pytest.fixture
def make(tiny_model: Path) -> Made:
    """Documents of rows, for a budget; a row of tokens holds about two of them."""
    tokenizer = load_tokenizer(tiny_model)

    def made(
        rows: Sequence[tuple[Row, int]],
        budget: dict[str, Any],
        *,
        row_tokens: int = 64,
        name: Sequence[str | int] = ("key",),
        watch: Callable[[str], None] = lambda where: None,
        context: int | None = None,
    ) -> Documents:
        settings = SFT.parse(
            {
                "budget": budget,
                "optimizer": {"learningRate": 1e-3},
                "rowTokens": row_tokens,
                "rowsPerStep": 2,
                "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
            }
        )
        return Documents(rows, settings, tokenizer, name, watch, context)

    return made


def order(documents: Documents) -> list[int]:
    """Numbers of the documents of the whole budget, as they are learned."""
    steps = islice(documents.steps(), documents.total_steps())
    return [i for step in steps for row in step for i in row]


def test_a_document_is_prompt_answer_and_end(make: Made, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    documents = make([(Row("r", {"problem": "Why?", "response": "So."}), 1)], {"epochs": 1})
    tokens = documents[0].tokens.tolist()
    assert tokenizer.decode(tokens) == "Why?\n\n\n\nSo.<eos>"
    assert tokenizer.decode(tokens[: documents[0].prompt_length]) == "Why?\n\n\n\n"


@pytest.mark.parametrize("count", [3, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
@pytest.mark.parametrize("budget", [{"epochs": 1}, {"steps": 1000}], ids=str)
def test_every_row_has_its_own_tokens_however_many_are_read_together(
    make: Made, count: int, budget: dict[str, Any]
) -> None:
    alone = [make([row], {"epochs": 1})[0] for row in problems(count)]
    documents = make(problems(count), budget)
    together = [documents[n] for n in range(len(documents))]
    assert [d.tokens.tolist() for d in together] == [d.tokens.tolist() for d in alone]
    assert [d.prompt_length for d in together] == [d.prompt_length for d in alone]


@pytest.mark.parametrize(
    ("epochs", "times", "why"),
    [
        (1, {1: 40}, "each once"),
        (2, {2: 40}, "each twice"),
        (2.5, {2: 20, 3: 20}, "half of them a third time"),
        (0.25, {0: 30, 1: 10}, "a quarter"),
        (0.001, {0: 39, 1: 1}, "never fewer than one"),
    ],
)
def test_a_part_of_an_epoch_is_a_part_of_the_documents(
    make: Made, epochs: float, times: dict[int, int], why: str
) -> None:
    learned = order(make(problems(40), {"epochs": epochs}))
    counts = [learned.count(n) for n in range(40)]
    assert {n: counts.count(n) for n in sorted(set(counts))} == times


def test_a_copy_is_learned_as_often_as_the_mix_says(make: Made) -> None:
    rows = [(row, copies) for (row, _), copies in zip(problems(4), (1, 0, 3, 1), strict=True)]
    documents = make(rows, {"epochs": 1})
    learned = [documents[n].tokens.tolist() for n in sorted(order(documents))]
    once = [make([row], {"epochs": 1})[0].tokens.tolist() for row in problems(4)]
    assert learned == [once[0], once[2], once[2], once[2], once[3]]


def test_documents_that_fit_no_row_are_left_out_whole_and_counted(make: Made) -> None:
    long = [(Row(f"long{n}", {"problem": "p", "response": "x" * 64}), 1) for n in range(2)]
    documents = make([*problems(10), *long], {"epochs": 2})
    assert set(order(documents)) == set(range(10))
    assert documents.too_long == {10, 11}


def test_a_document_of_exactly_a_row_fits(make: Made) -> None:
    documents = make([(Row("r", {"problem": "", "response": "x" * 59}), 1)], {"epochs": 1})
    assert len(documents[0].tokens) == 64
    assert order(documents) == [0]


@pytest.mark.parametrize("budget", [{"epochs": 1}, {"epochs": 0.5}, {"steps": 3}], ids=str)
def test_where_no_document_fits_the_stage_says_so(make: Made, budget: dict[str, Any]) -> None:
    documents = make(problems(4, "x" * 9), budget, row_tokens=16)
    with pytest.raises(StageFailure, match="documents fits rowTokens 16; raise it") as failure:
        order(documents)
    assert failure.value.code == ExitCode.BAD_CONFIGURATION


def test_a_row_without_an_answer_is_refused_before_anything_is_learned(make: Made) -> None:
    rows = [*problems(3), (Row("r", {"problem": "p"}, "x.jsonl line 4"), 1)]
    for budget in ({"epochs": 1}, {"steps": 1}):
        with pytest.raises(StageFailure, match='line 4 has no "response"'):
            make(rows, budget)


def test_the_order_is_drawn_for_each_epoch_and_is_the_same_again(make: Made) -> None:
    learned = order(make(problems(40), {"epochs": 2}, row_tokens=33))
    first, second = learned[:40], learned[40:]
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != sorted(first)
    assert first != second
    assert order(make(problems(40), {"epochs": 2}, row_tokens=33)) == learned


def test_steps_and_epochs_learn_in_the_same_order(make: Made) -> None:
    epochs = list(make(problems(40), {"epochs": 3}).steps())
    steps = islice(make(problems(40), {"steps": 1000}).steps(), len(epochs) - 1)
    assert list(steps) == epochs[:-1], "the last step of a budget of epochs may have fewer rows"


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [(("key",), ("other",), "another stage"), (("key",), ("key", 1), "a health stop's salt"),
     (("key", 1), ("key", 2), "the next one's")],
)  # fmt: skip
def test_another_name_draws_another_order(
    make: Made, one: Sequence[str | int], other: Sequence[str | int], why: str
) -> None:
    orders = [order(make(problems(40), {"epochs": 1}, name=name)) for name in (one, other)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize(
    ("budget", "expected", "why"),
    [
        ({"steps": 2}, ROWS_AT_ONCE, "needs a handful"),
        ({"epochs": 0.01}, 10, "needs a hundredth"),
        ({"epochs": 2}, 1000, "needs all, each once"),
    ],
)
def test_what_is_not_learned_is_not_tokenised(
    tiny_model: Path, budget: dict[str, Any], expected: int, why: str
) -> None:
    tokenizer, texts = load_tokenizer(tiny_model), 0

    class Counting:
        eos_token_id = tokenizer.eos_token_id

        def __call__(self, several: list[str], **options: bool) -> Any:
            nonlocal texts
            texts += len(several)
            return tokenizer(several, **options)

    settings = SFT.parse(
        {
            "budget": budget,
            "optimizer": {"learningRate": 1e-3},
            "rowTokens": 256,
            "rowsPerStep": 2,
            "prompting": {"template": "plain"},
        }
    )
    documents = Documents(problems(1000), settings, Counting(), ("key",), lambda where: None)
    order(documents)
    assert texts == 2 * expected, "a prompt and an answer each"


def test_loading_tells_how_far_it_is_and_can_be_stopped(make: Made) -> None:
    told: list[str] = []
    documents = make(problems(2 * ROWS_AT_ONCE), {"epochs": 2}, watch=told.append)
    assert told == [f"load: {n * ROWS_AT_ONCE} rows" for n in (1, 2)]
    told.clear()
    documents.total_steps()
    assert told == [
        f"load: epoch {epoch}, {n * ROWS_AT_ONCE} documents" for epoch in (1, 2) for n in (1, 2)
    ], "no two alike: the watchdog takes the same words for standing still"

    def stop(where: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        make(problems(3), {"epochs": 1}, watch=stop)


def test_every_answer_token_of_a_step_weighs_the_same(make: Made) -> None:
    documents = make(problems(40), {"epochs": 1})
    step = next(documents.steps())
    batch = as_batch(documents, step)
    numbers = [n for row in step for n in row]
    assert [list(s) for s in batch.sequences] == [documents[n].tokens.tolist() for n in numbers]
    assert [[numbers[i] for i in row] for row in batch.rows or ()] == step
    for sequence, prompt, weights in zip(
        batch.sequences, batch.prompt_lengths, batch.token_weights, strict=True
    ):
        assert len(weights) == len(sequence) - prompt
    weights = torch.cat(list(batch.token_weights))
    assert len({len(w) for w in batch.token_weights}) > 1, "answers of different lengths"
    assert weights.unique().numel() == 1
    assert float(weights.double().sum()) == pytest.approx(1)


@pytest.mark.parametrize("budget", [{"epochs": 1}, {"steps": 1}])
def test_a_document_beyond_the_models_context_is_refused(
    make: Made, budget: dict[str, Any]
) -> None:
    """With epochs before the first step; with steps when its turn comes."""
    rows = [(Row("r0", {"problem": "?", "response": "x" * 40}, origin="rows.jsonl:7"), 1)]
    said = r"rows.jsonl:7 has \d+ tokens but the model reads 32; lower rowTokens to 32"
    with pytest.raises(StageFailure, match=said):
        order(make(rows, budget, context=32))


def test_rows_may_be_longer_than_the_context_and_what_fits_no_row_is_dropped(make: Made) -> None:
    rows = [*problems(6), (Row("long", {"problem": "?", "response": "x" * 100}), 1)]
    documents = make(rows, {"epochs": 1}, context=32)
    assert sorted(order(documents)) == [*range(6)]
    assert documents.too_long == {6}
