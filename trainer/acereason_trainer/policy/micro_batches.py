"""A batch's sequences as tensors that fit a token budget, shared out to the ranks.

`padded`: rows side by side, filled up to the longest; what stands in one row is kept apart by a
mask. `packed`: all sequences behind one another in one row, and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from acereason_trainer.policy.attention import Documents
from acereason_trainer.policy.protocol import Batch

Layout = Literal["packed", "padded"]
ATTENTION_IS_HALF_AT = 2**16
"""Length of a sequence at which attention takes as long as all the rest (Qwen2.5-7B: 65 thousand
tokens, 14B: 54). Work of a sequence is its length x (1 + length / this)."""


@dataclass(frozen=True)
class MicroBatch:
    """R rows of T tokens for one forward pass, and where its n trained tokens are."""

    tokens: Tensor
    """[R, T] token ids; padding on the right."""
    positions: Tensor | None
    """[R, T] positions, from 0 in each sequence; None: a plain range."""
    mask: Tensor | None
    """[R, 1, T, T] bool, causal within each sequence; None: plain causal, or as `documents` say."""
    documents: Documents | None
    """Where the sequences of a packed row begin and end; None: as `mask` says."""
    rows: Tensor
    """[n] row of the logits that predict each trained token."""
    columns: Tensor
    """[n] column of them: one before the token."""
    targets: Tensor
    """[n] trained token ids."""
    weights: Tensor
    """[n] float32 weights."""
    sampler_logprobs: Tensor | None
    """[n] float32."""
    importance_cap: float | None = None
    """As the batch has it."""
    counts: bool = True
    """Whether it is part of the batch at all."""

    @property
    def inputs(self) -> tuple[Tensor | Documents | None, ...]:
        """What the forward pass is given, in its order."""
        return (
            self.tokens,
            self.positions,
            self.mask,
            self.documents,
            self.rows,
            self.columns,
            self.targets,
        )


def group_rows(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of rows, longest first, in groups of at most `budget` padded tokens.

    A single row above the budget stands alone. Rows of like length come together, so that little
    is padded.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def shared_groups(lengths: Sequence[int], budget: int, world: int) -> list[list[list[int]]]:
    """The groups of each rank, as many for every one; [] where there are fewer groups than ranks.

    The ranks go through their groups in step with one another, so a round takes as long as its
    largest group. The rounds are as few as the budget allows, the groups as small as these rounds
    allow, and those of a round neighbours in size; the last round's are cut until each rank has
    one. One rank has the groups of `group_rows`.
    """
    groups = group_rows(lengths, budget)
    if world == 1:
        return [groups]
    rounds = max(1, -(-len(groups) // world))
    smallest, enough = min(budget, max(lengths, default=0)), budget
    while smallest < enough:
        middle = (smallest + enough) // 2
        if len(group_rows(lengths, middle)) <= rounds * world:
            enough = middle
        else:
            smallest = middle + 1
    groups = sorted(group_rows(lengths, enough), key=lambda g: -len(g) * lengths[g[0]])
    full = (rounds - 1) * world
    groups[full:] = _halved(groups[full:], lengths, world)
    return [groups[rank::world] for rank in range(world)]


def _halved(groups: Sequence[list[int]], lengths: Sequence[int], number: int) -> list[list[int]]:
    """So many groups, by cutting the largest in half again and again; empty ones where no rows are
    left to be cut apart."""
    out = list(groups)
    while len(out) < number:
        cuttable = [g for g in out if len(g) > 1]
        if not cuttable:
            return [*out, *([] for _ in range(number - len(out)))]
        largest = max(cuttable, key=lambda g: len(g) * lengths[g[0]])
        out.remove(largest)
        half = (len(largest) + 1) // 2
        out += [largest[:half], largest[half:]]
    return out


def balanced_groups(lengths: Sequence[int], budget: int, world: int) -> list[list[list[int]]]:
    """The groups of each rank without padding: at most `budget` tokens, as many for every rank.

    The rounds are as few as the tokens need, and the work of a round is spread evenly: the longest
    sequences are dealt first, each to the group with the least work that has room. A sequence above
    the budget stands alone. [] where there are fewer sequences than groups.
    """
    rounds = max(1, -(-sum(lengths) // (budget * world)))
    while (groups := _dealt(lengths, budget, rounds * world)) is None:
        rounds += 1
    groups.sort(key=lambda group: -sum(_work(lengths[i]) for i in group))
    return [groups[rank::world] for rank in range(world)]


def _dealt(lengths: Sequence[int], budget: int, number: int) -> list[list[int]] | None:
    """So many groups; None where greed finds no room for a sequence."""
    groups: list[list[int]] = [[] for _ in range(number)]
    tokens, work = [0] * number, [0.0] * number
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        room = [g for g in range(number) if not groups[g] or tokens[g] + lengths[i] <= budget]
        if not room:
            return None
        least = min(room, key=lambda g: (work[g], g))
        groups[least].append(i)
        tokens[least] += lengths[i]
        work[least] += _work(lengths[i])
    return groups


def _work(length: int) -> float:
    return length * (1 + length / ATTENTION_IS_HALF_AT)


def micro_batches(
    batch: Batch,
    budget: int,
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
    layout: Layout = "packed",
) -> Iterator[MicroBatch]:
    """A rank's share of the batch, in micro-batches of at most `budget` tokens (padding counts),
    each made when asked for: a mask of `padded` rows that are shared takes T bytes per token.

    All ranks have as many. Where there is nothing for a rank, it runs one token of weight 0: the
    collectives of a round need everybody.
    """
    if layout == "packed":
        lengths = [len(sequence) for sequence in batch.sequences]
        for group in balanced_groups(lengths, budget, world)[rank]:
            if group:
                yield _assemble(batch, [group], device, layout)
            elif world > 1:
                yield weightless(device)
        return
    rows = batch.rows or [[i] for i in range(len(batch.sequences))]
    lengths = [sum(len(batch.sequences[i]) for i in row) for row in rows]
    for group in shared_groups(lengths, budget, world)[rank]:
        if group:
            yield _assemble(batch, [rows[i] for i in group], device, layout)
        else:
            yield weightless(device)


def to_be_scored(
    sequences: Sequence[Sequence[int]], device: torch.device, layout: Layout
) -> MicroBatch:
    """All sequences together, of each all but its first token to be scored."""
    batch = Batch(sequences, [1] * len(sequences), [torch.zeros(len(s) - 1) for s in sequences])
    numbers = list(range(len(sequences)))
    rows = [numbers] if layout == "packed" else [[i] for i in numbers]
    return _assemble(batch, rows, device, layout)


def weightless(device: torch.device) -> MicroBatch:
    """One token of weight 0: every parameter gets a gradient, and it is zero."""
    zero = torch.zeros(1, dtype=torch.long, device=device)
    return MicroBatch(
        tokens=torch.zeros(1, 2, dtype=torch.long, device=device),
        positions=None,
        mask=None,
        documents=None,
        rows=zero,
        columns=zero,
        targets=zero,
        weights=torch.zeros(1, device=device),
        sampler_logprobs=None,
        counts=False,
    )


def _assemble(
    batch: Batch, rows: Sequence[Sequence[int]], device: torch.device, layout: Layout
) -> MicroBatch:
    width = max(sum(len(batch.sequences[i]) for i in row) for row in rows)
    shared = any(len(row) > 1 for row in rows)
    masked = shared and layout != "packed"
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    documents = torch.full((len(rows), width), -1, dtype=torch.long)
    at_rows, at_columns, targets = [], [], []
    for r, row in enumerate(rows):
        start = 0
        for d, i in enumerate(row):
            sequence, prompt = batch.sequences[i], batch.prompt_lengths[i]
            end = start + len(sequence)
            tokens[r, start:end] = torch.tensor(sequence)
            positions[r, start:end] = torch.arange(len(sequence))
            documents[r, start:end] = d
            trained = len(sequence) - prompt
            at_rows.append(torch.full((trained,), r))
            at_columns.append(torch.arange(start + prompt - 1, end - 1))
            targets.append(tokens[r, start + prompt : end])
            start = end
    flat = [i for row in rows for i in row]
    return MicroBatch(
        tokens=tokens.to(device),
        positions=positions.to(device) if shared else None,
        mask=_block_mask(documents).to(device) if masked else None,
        documents=(
            Documents.of([len(batch.sequences[i]) for i in flat], device)
            if layout == "packed"
            else None
        ),
        rows=torch.cat(at_rows).to(device),
        columns=torch.cat(at_columns).to(device),
        targets=torch.cat(targets).to(device),
        weights=torch.cat([batch.token_weights[i] for i in flat]).to(device),
        sampler_logprobs=(
            None
            if batch.sampler_logprobs is None
            else torch.cat([batch.sampler_logprobs[i] for i in flat]).to(device)
        ),
        importance_cap=batch.importance_cap,
    )


def _block_mask(documents: Tensor) -> Tensor:
    """[R, T] document numbers to [R, 1, T, T]: who may look at whom.

    Padding (-1) looks at itself only, so that no row of the softmax is empty.
    """
    width = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    return (same & causal)[:, None]
