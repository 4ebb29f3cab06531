"""The sampler that is always there: decodes with the trainer's own module, on any device.

Requests are cut into batches by their order alone, and every response draws from its own seeded
stream, so that results do not depend on what else runs. Prompts that appear several times (a group)
are read once. Rows that are done are dropped when they are a third of the batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.policy.loading import stop_tokens
from acereason_trainer.policy.protocol import Weights
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.kv_cache import KVCache
from acereason_trainer.rollout.protocol import Completion, OnBatch, SampleRequest, SamplingParams

DROP_WHEN_DONE = 0.3
"""Share of finished rows at which a batch is made smaller: copying the cache costs about as much as
two steps."""
UNIFORMS = 64
"""Random numbers drawn per row at once."""


class TransformersSampler:
    """Draws responses with the policy's own module."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        sequences_per_batch: int,
        check_stop: Callable[[], None],
        journal: Journal | None = None,
        peers: Peers = ALONE,
    ) -> None:
        self._tokenizer = tokenizer
        self._batch_size = sequences_per_batch
        self._check_stop = check_stop
        self._journal = journal
        self._peers = peers
        self._model: Any = None
        self._version = -1

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        return self._version

    @property
    def draws(self) -> bool:
        """Every rank does."""
        return True

    @property
    def probe_difference(self) -> None:
        """The module is the trainer's own."""
        return None

    def push(self, policy: Weights, version: int) -> None:
        """Use the policy's weights: they are in this process already."""
        self._model = policy.model
        self._version = version

    def rest(self) -> None:
        """The module is the trainer's own: there is nothing to give back."""

    def close(self) -> None:
        """There is nothing to end."""

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Draw this rank's share of the requests, in their order: one batch for each round of all
        ranks, so that each batch is the same one whoever draws it."""
        completions: list[Completion] = []
        size, world = self._batch_size, self._peers.world
        for start in range(self._peers.rank * size, len(requests), world * size):
            batch = requests[start : start + self._batch_size]
            found = self._journal and self._journal.find(self._version, params, batch)
            if found:
                on_batch(found)
                completions += found
                continue
            drawn = self._decode(batch, params, on_batch)
            if self._journal:
                self._journal.keep(self._version, params, drawn)
            completions += drawn
        return completions

    @torch.inference_mode()
    def _decode(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        stops = torch.tensor(
            sorted(stop_tokens(self._model, self._tokenizer)), device=self._model.device
        )
        draws = _Draws([r.seed for r in requests])
        logits, cache, pads = self._read_prompts(requests, params.max_tokens)
        alive = torch.arange(len(requests), device=logits.device)
        tokens = torch.zeros(len(requests), params.max_tokens, dtype=torch.long)
        logprobs = torch.zeros(len(requests), params.max_tokens)
        done, told = torch.zeros(len(requests), dtype=torch.bool, device=logits.device), 0
        completions: list[Completion | None] = [None] * len(requests)
        for step in range(params.max_tokens):
            self._check_stop()
            uniforms = draws.at(step, alive).to(logits.device)
            chosen, chosen_logprobs = choose(logits, uniforms, params)
            tokens[alive.cpu(), step] = chosen.cpu()
            logprobs[alive.cpu(), step] = chosen_logprobs.cpu()
            before, done = done, done | torch.isin(chosen, stops)
            finished = int(done.sum())
            last = step + 1 == params.max_tokens
            if last or finished > told:
                ended = alive[~before] if last else alive[done & ~before]
                on_batch(
                    self._finish(requests, ended, stops, tokens, logprobs, step + 1, completions)
                )
                told = finished
            if last or finished == len(alive):
                break
            if finished >= DROP_WHEN_DONE * len(alive):
                keep = torch.nonzero(~done)[:, 0]
                cache.select(keep)
                alive, pads, chosen = alive[keep], pads[keep], chosen[keep]
                done, told = torch.zeros(len(alive), dtype=torch.bool, device=logits.device), 0
            logits = self._forward(chosen[:, None], cache, pads)
        return [c for c in completions if c is not None]

    def _read_prompts(
        self, requests: Sequence[SampleRequest], max_tokens: int
    ) -> tuple[Tensor, KVCache, Tensor]:
        """Prefill each different prompt once, then repeat its row for each of its requests.

        Returns logits [B, V] after the prompt, the cache, and [B] columns of left padding.
        """
        different = list(dict.fromkeys(r.prompt for r in requests))
        width = max(len(p) for p in different)
        pads = torch.tensor([width - len(p) for p in different])
        ids = torch.zeros(len(different), width, dtype=torch.long)
        for row, prompt in enumerate(different):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
        device = self._model.device
        cache = KVCache(width + max_tokens)
        logits = self._forward(ids.to(device), cache, pads.to(device))
        number = {prompt: row for row, prompt in enumerate(different)}
        rows = torch.tensor([number[r.prompt] for r in requests], device=device)
        cache.select(rows)
        return logits[rows], cache, pads.to(device)[rows]

    def _forward(self, ids: Tensor, cache: KVCache, pads: Tensor) -> Tensor:
        """Logits [B, V] of the last column, float32; ids are [B, t], left padding `pads` [B]."""
        start, end = cache.filled, cache.filled + ids.shape[1]
        columns = torch.arange(end, device=ids.device)
        real = columns[None, :] >= pads[:, None]
        causal = columns[None, :] <= columns[start:end, None]
        # A padding row of the prompt looks at itself, so that no softmax is empty.
        itself = columns[None, :] == columns[start:end, None]
        mask = ((real[:, None, :] & causal[None]) | itself[None])[:, None]
        positions = (columns[None, start:end] - pads[:, None]).clamp(min=0)
        hidden = self._model.base_model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        cache.advance(ids.shape[1])
        logits: Tensor = self._model.get_output_embeddings()(hidden[:, -1]).float()
        return logits

    def _finish(
        self,
        requests: Sequence[SampleRequest],
        ended: Tensor,
        stops: Tensor,
        tokens: Tensor,
        logprobs: Tensor,
        length: int,
        completions: list[Completion | None],
    ) -> list[Completion]:
        """Cut the rows that ended after their stop token and decode them."""
        rows = ended.tolist()
        kept, stop_list = tokens[rows, :length], stops.cpu()
        is_stop = torch.isin(kept, stop_list)
        ends = torch.where(is_stop.any(1), is_stop.int().argmax(1) + 1, length).tolist()
        ids = [kept[i, :end].tolist() for i, end in enumerate(ends)]
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        out = []
        for i, row in enumerate(rows):
            completion = Completion(
                request=requests[row],
                tokens=tuple(ids[i]),
                logprobs=tuple(logprobs[row, : ends[i]].tolist()),
                finish="stop" if bool(is_stop[i].any()) else "length",
                text=texts[i],
            )
            completions[row] = completion
            out.append(completion)
        return out


class _Draws:
    """One stream of uniform numbers for each request, from its own seed."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._streams = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
        self._numbers = np.empty((len(seeds), UNIFORMS))

    def at(self, step: int, rows: Tensor) -> Tensor:
        """[len(rows)] float64 in [0, 1) for one step; steps must be asked for in order."""
        column = step % UNIFORMS
        alive = rows.tolist()
        if column == 0:
            for row in alive:
                self._numbers[row] = self._streams[row].random(UNIFORMS)
        return torch.from_numpy(self._numbers[alive, column])


def choose(logits: Tensor, uniforms: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the cumulative distribution.

    logits [B, V], uniforms [B] in [0, 1). Returns token ids [B] and their log p under the
    temperature, before top-p [B] (greedy: under temperature 1).
    """
    if params.temperature == 0:
        log_p = torch.log_softmax(logits, dim=-1)
        chosen = logits.argmax(-1)
        return chosen, log_p.gather(1, chosen[:, None])[:, 0]
    log_p = torch.log_softmax(logits / params.temperature, dim=-1)
    p = log_p.double().exp()
    if params.top_p < 1:
        ordered, order = p.sort(dim=-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= params.top_p
        p = p.scatter(1, order, ordered.masked_fill(outside, 0.0))
    cumulative = p.cumsum(-1)
    targets = uniforms[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, targets, right=True)[:, 0]
    chosen = chosen.clamp(max=logits.shape[1] - 1)
    return chosen, log_p.gather(1, chosen[:, None])[:, 0]
