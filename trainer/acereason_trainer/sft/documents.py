"""Worked answers as token sequences, in the order in which they are learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import SFT
from acereason_trainer.dataset import Row, require_response
from acereason_trainer.prompting import render_prompt, response_after_prompt
from acereason_trainer.rollout.seeds import draw_seed
from acereason_trainer.sft.packing import pack
from acereason_trainer.stage import StageFailure


@dataclass(frozen=True)
class Document:
    """One prompt with its worked answer and the end-of-text token."""

    tokens: tuple[int, ...]
    prompt_length: int


class Documents:
    """The dataset as documents; tokenised when first asked for, so that a short run of a large set
    does not wait for all of it."""

    def __init__(self, rows: Sequence[Row], settings: SFT, tokenizer: Any, key: str) -> None:
        for row in rows:
            require_response(row)
        self._rows = rows
        self._settings = settings
        self._tokenizer = tokenizer
        self._key = key
        self._made: dict[int, Document] = {}
        self.too_long: set[int] = set()
        """Documents that do not fit a row, as far as the data was read."""

    def __getitem__(self, number: int) -> Document:
        if number not in self._made:
            self._made[number] = self._make(self._rows[number])
        return self._made[number]

    def _make(self, row: Row) -> Document:
        prompting = self._settings.prompting
        prompt = render_prompt(row, prompting, self._tokenizer)
        text = response_after_prompt(str(row.data["response"]), prompting)
        response = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return Document((*prompt, *response, self._tokenizer.eos_token_id), len(prompt))

    def steps(self) -> Iterator[list[list[int]]]:
        """Packed rows of one optimizer step after another; ends with the budget's epochs.

        The order of every epoch is drawn from the stage key, so it is the same after a resume.
        """
        per_step = self._settings.rows_per_step
        rows = self._packed()
        while step := list(islice(rows, per_step)):
            yield step

    def _packed(self) -> Iterator[list[int]]:
        """Rows of the whole budget, epoch by epoch."""
        epochs = self._settings.budget.epochs
        for epoch in count():
            part = 1.0 if epochs is None else min(1.0, epochs - epoch)
            if part <= 0:
                return
            order = sorted(
                range(len(self._rows)), key=lambda i: draw_seed(self._key, "order", epoch, i)
            )
            chosen = order[: max(1, round(part * len(order)))]
            packed = pack(self._lengths(chosen), self._settings.row_tokens)
            first = next(packed, None)
            if first is None:
                raise StageFailure(
                    ExitCode.BAD_CONFIGURATION,
                    "DocumentsTooLong",
                    f"none of {len(chosen)} documents fits rowTokens "
                    f"{self._settings.row_tokens}; raise it",
                )
            yield first
            yield from packed

    def _lengths(self, order: Sequence[int]) -> Iterator[tuple[int, int]]:
        for i in order:
            length = len(self[i].tokens)
            if length > self._settings.row_tokens:
                self.too_long.add(i)
            else:
                yield i, length

    def total_steps(self) -> int:
        """Optimizer steps of the budget; with epochs, all data is packed to count them."""
        if self._settings.budget.steps is not None:
            return self._settings.budget.steps
        return sum(1 for _ in self.steps())
