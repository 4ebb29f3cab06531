"""Worked answers as token sequences, in the order in which they are learned.

A set of millions of answers fits in memory as 32-bit tokens and hardly as anything else. So a
budget of whole epochs, which needs all of them, has each batch of rows tokenised as it is read and
its texts forgotten. A budget of steps, or of a part of an epoch, may need few: there the texts wait
until their turn in the order comes.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import SFT
from acereason_trainer.dataset import Row, require_response
from acereason_trainer.prompting import prompt_text, require_single_think, response_after_prompt
from acereason_trainer.seeds import draw_seed
from acereason_trainer.sft.packing import pack
from acereason_trainer.stage import StageFailure

ROWS_AT_ONCE = 64
"""Rows tokenised together: enough for all threads of the tokenizer. Its own record of a token takes
a hundred bytes or more until it is made small."""

Tokens = NDArray[np.int32]
Watch = Callable[[str], None]
"""Told now and then how far the loading is; may raise Stopped."""


@dataclass(frozen=True)
class Document:
    """One prompt with its worked answer and the end-of-text token."""

    tokens: Tokens
    prompt_length: int


class Documents:
    """The dataset as documents, numbered as the rows are: copies of a row have numbers of their own
    and share its tokens."""

    def __init__(
        self,
        rows: Iterable[tuple[Row, int]],
        settings: SFT,
        tokenizer: Any,
        name: Sequence[str | int],
        watch: Watch,
        context: int | None = None,
    ) -> None:
        """rows: each row with its number of copies. name: what the orders are drawn for. context:
        tokens that the model can read.

        Raises StageFailure for a row without a worked answer or beyond the context, and what
        `watch` raises.
        """
        self._settings = settings
        self._tokenizer = tokenizer
        self._name = tuple(name)
        self._watch = watch
        self._context = context
        self._rows: list[Row | None] = []
        self._tokens: list[Tokens | None] = []
        self._prompt_lengths = array("i")
        self._lengths = array("i")
        self._row_of = array("i")
        self.too_long: set[int] = set()
        """Documents that do not fit a row, as far as the data was read."""
        self._read(rows)

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, number: int) -> Document:
        row = self._row_of[number]
        self._tokenize([row])
        tokens = self._tokens[row]
        assert tokens is not None
        return Document(tokens, self._prompt_lengths[row])

    def _read(self, rows: Iterable[tuple[Row, int]]) -> None:
        all_are_needed = (self._settings.budget.epochs or 0) >= 1
        rows = iter(rows)
        while some := list(islice(rows, ROWS_AT_ONCE)):
            for row, copies in some:
                require_response(row)
                require_single_think(row, self._settings.prompting)
                if copies:
                    self._row_of.extend([len(self._rows)] * copies)
                    self._rows.append(row)
            new = range(len(self._lengths), len(self._rows))
            self._tokens.extend([None] * len(new))
            self._prompt_lengths.extend([0] * len(new))
            self._lengths.extend([0] * len(new))
            if all_are_needed:
                self._tokenize(new)
            self._watch(f"load: {len(self._rows):,} rows")

    def _tokenize(self, numbers: Iterable[int]) -> None:
        """Give rows their tokens, where they have none; their texts are not needed any more."""
        rows = {n: row for n in numbers if (row := self._rows[n]) is not None}
        if not rows:
            return
        prompting = self._settings.prompting
        prompts = [prompt_text(row, prompting, self._tokenizer) for row in rows.values()]
        responses = [
            response_after_prompt(str(row.data["response"]), prompting) for row in rows.values()
        ]
        ids = self._tokenizer(
            [*prompts, *responses], add_special_tokens=False, return_attention_mask=False
        )["input_ids"]
        for n, prompt, response in zip(rows, ids[: len(rows)], ids[len(rows) :], strict=True):
            tokens = np.array([*prompt, *response, self._tokenizer.eos_token_id], dtype=np.int32)
            self._tokens[n], self._rows[n] = tokens, None
            self._lengths[n], self._prompt_lengths[n] = len(tokens), len(prompt)
            self._check_length(rows[n], len(tokens))

    def _check_length(self, row: Row, tokens: int) -> None:
        """Rows may be longer than the context, since each document in them begins at position 0;
        documents may not."""
        if self._context is None or not self._context < tokens <= self._settings.row_tokens:
            return
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "ContextTooShort",
            f"{row.origin or row.id} has {tokens:,} tokens but the model reads {self._context:,}; "
            f"lower rowTokens to {self._context} to drop it and its like, or set "
            "loading.maxPositionEmbeddings, with a loading.ropeTheta for as long a context",
        )

    def steps(self) -> Iterator[list[list[int]]]:
        """Packed rows of one optimizer step after another; ends with the budget's epochs.

        The order of every epoch is drawn by name, so it is the same after a resume.
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
            order = self._order(epoch)
            chosen = order[: max(1, round(part * len(order)))]
            packed = pack(self._fitting(epoch, chosen), self._settings.row_tokens)
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

    def _order(self, epoch: int) -> NDArray[np.intp]:
        draws = (draw_seed(*self._name, "order", epoch, i) for i in range(len(self)))
        return np.fromiter(draws, np.uint64, len(self)).argsort(kind="stable")

    def _fitting(self, epoch: int, order: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
        """Number and length of the documents that fit a row, in order."""
        for start in range(0, len(order), ROWS_AT_ONCE):
            some = order[start : start + ROWS_AT_ONCE].tolist()
            self._tokenize(self._row_of[i] for i in some)
            self._watch(f"load: epoch {epoch + 1}, {start + len(some):,} documents")
            for i in some:
                length = self._lengths[self._row_of[i]]
                if length > self._settings.row_tokens:
                    self.too_long.add(i)
                else:
                    yield i, length

    def total_steps(self) -> int:
        """Optimizer steps of the budget; with epochs, all data is packed to count them."""
        if self._settings.budget.steps is not None:
            return self._settings.budget.steps
        return sum(1 for _ in self.steps())
