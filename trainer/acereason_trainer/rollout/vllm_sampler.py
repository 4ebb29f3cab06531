"""The sampler for GPUs: vLLM beside the trainer, one engine for each rank or for each few of them.

Trainer and engines take turns with the GPUs. A push moves what only training needs to the host,
wakes the engines, hands them the weights in buckets and holds their logprobs of a fixed probe
against the trainer's; `rest` gives everything back. What each engine draws is its share of one
queue (share.py). A response draws from its own seed; its last bits depend on what is decoded beside
it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.peers import Peers
from acereason_trainer.policy.identity import Identity
from acereason_trainer.policy.protocol import Weights
from acereason_trainer.rollout.engine_client import EngineClient, EngineError
from acereason_trainer.rollout.engine_messages import Asked, Drawn
from acereason_trainer.rollout.protocol import Completion, OnBatch, SampleRequest, SamplingParams
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.share import Capacity, Share
from acereason_trainer.rollout.weight_buckets import BUCKET, SharedMemory, in_buckets
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import StageFailure, Stopped

PROBE_SEQUENCES = 4
PROBE_TOKENS = 64
"""Of each sequence at most. Tokens are drawn from the whole vocabulary, so that every row of the
embedding has its chance to be the wrong one."""
AGREE = {"float32": 1e-3, "bfloat16": 0.15}
"""Mean of |log p of the engine - log p of the trainer| over the probe from which on they do not
agree, in nats, where a stage sets no `vllm.probeLimit`. On SmolLM2-135M, transformers against
itself by other kernels comes to 1e-5 and 7e-2, weights that are off by 2 % to 0.3 and more
(docs/health.md); bfloat16's is as many times the one as the other is of it, since a limit that is
too low would keep a sound model from being trained at all."""
IN_A_COLLECTIVE = 300.0
"""Seconds at most for a bucket. Ranks without an engine wait for it where the next weight is
gathered; torch's limit there is 30 minutes, and nobody would then say what it was that they waited
for."""
OF_A_MACHINE = ("CUDA", "NCCL", "Executor failed", "[Errno ", "TimeoutError", "MemoryError")
"""In what vLLM says of a GPU that is full or broken, of a worker that is gone and of what the
system refuses, not of weights that it does not know."""


class VLLMSampler:
    """Draws responses with vLLM."""

    def __init__(
        self,
        engine: EngineClient | None,
        tokenizer: Any,
        *,
        engines: int,
        number: int,
        sequences: int,
        longest: int,
        limit: float,
        vocabulary: int,
        journal: ResponseJournal | None,
        peers: Peers,
    ) -> None:
        """engine: where this rank has one (number `number` of so many); the others help pushing.
        sequences: decoded at once by an engine. longest: tokens of a sequence at most.
        limit: nats by which engine and trainer may differ on the probe, on average. journal: keeps
        responses one by one, where who calls does not."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._engines = engines
        self._number = number
        self._limit = limit
        self._journal = journal
        self._peers = peers
        self._policy: Weights | None = None
        self._version = -1
        self._awake = False
        self._drawings = 0
        self._capacity = Capacity(cache_tokens=0, sequences=sequences, tokens_each=float(longest))
        self._dealt = 1
        self._probe = probe(vocabulary, min(PROBE_TOKENS, longest - 1))
        self._memory = SharedMemory.made(BUCKET) if engine is not None else None
        self._probe_difference: float | None = None
        peers.together(self._attach)

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        return self._version

    @property
    def draws(self) -> bool:
        """Whether this rank has an engine."""
        return self._engine is not None

    @property
    def probe_difference(self) -> float | None:
        """Of the last push, in nats; None where this rank has no engine."""
        return self._probe_difference

    def _attach(self) -> None:
        if self._engine is not None and self._memory is not None:
            self._engine.call("attach", self._memory.path, self._memory.size)
            self._capacity.cache_tokens = self._engine.call("cache_tokens")

    def push(self, policy: Weights, version: int) -> None:
        """Make room, wake the engines, hand them the weights and look at whether they have them.

        Raises StageFailure where an engine does not: for good before the first step, since vLLM
        then does not know this model as the trainer does. Later it did.
        """
        self._policy = policy
        ours = policy.logprobs(self._probe)  # as long as the GPU is the trainer's
        self._awake = True
        self._peers.together(policy.make_room)  # an engine may use the GPUs of several ranks
        self._dealt = self._peers.led(self._capacity.at_once)
        self._peers.together(lambda: self._with_engine("begin_push"))
        identity = Identity()
        weights = identity.of_passing(policy.weights())  # gathering them is slow: once for both
        self._peers.together(lambda: self._send_weights(weights, version))
        self._peers.together(lambda: self._end_push(version))
        if (journal := self._journal) is not None:
            found = self._peers.led(lambda: journal.earlier(identity.name))
            journal.drawn_from(identity.name, found)
        self._peers.together(lambda: self._compare(ours, version))
        self._version = version

    def _send_weights(self, weights: Iterator[tuple[str, Tensor]], version: int) -> None:
        """Gathering them takes all ranks: also one without an engine, and one whose engine
        fails."""
        try:
            if self._engine is None or self._memory is None:
                return
            with _taking_on_weights(version):
                for pieces in in_buckets(weights, self._memory):
                    self._engine.call("take_bucket", pieces, at_most=IN_A_COLLECTIVE)
        finally:
            for _ in weights:
                pass

    def _end_push(self, version: int) -> None:
        with _taking_on_weights(version):
            self._with_engine("end_push")

    def _compare(self, ours: Sequence[Tensor], version: int) -> None:
        theirs = self._with_engine("score", self._probe)
        if theirs is None:
            return
        pairs = zip(ours, theirs, strict=True)
        apart = np.concatenate([np.abs(o.numpy() - np.array(t)) for o, t in pairs])
        self._probe_difference = float(apart.mean())
        _require_agreement(self._probe_difference, self._limit, version)

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Draw this rank's part of the requests, in the order in which they end.

        What an earlier attempt has drawn of them is shared out too: it is still to be checked.
        """
        kept = self._journal.find(self._version, params, requests) if self._journal else []
        known = {_asked(c.request) for c in kept}
        left = [r for r in requests if _asked(r) not in known]
        self._drawings += 1
        take = self._peers.queue(f"drawing-{self._drawings}")
        completions = kept[self._peers.rank :: self._peers.world]
        if completions:
            self._keep(params, completions)
            on_batch(completions)
        if self._engine is None:
            return completions
        drawn = self._draw(self._engine, left, take, params, on_batch)
        if drawn:
            each = (len(c.request.prompt) + len(c.tokens) for c in drawn)
            self._capacity.tokens_each = fmean(each)
        return completions + drawn

    def _draw(
        self,
        engine: EngineClient,
        requests: Sequence[SampleRequest],
        take: Callable[[], int],
        params: SamplingParams,
        on_batch: OnBatch,
    ) -> list[Completion]:
        """Draw this engine's share of the requests."""
        share = Share(len(requests), self._number, self._engines, self._dealt, self._capacity, take)
        engine.add([_one(n, requests[n], params) for n in share.begin()])
        completions: list[Completion] = []
        while share.under_way:
            try:
                drawn = engine.drawn()
            except Stopped:
                finished = self._completions(requests, engine.done())
                self._keep(params, finished)
                on_batch(finished)
                raise
            ended = {d.number: len(requests[d.number].prompt) + len(d.tokens) for d in drawn}
            engine.add([_one(n, requests[n], params) for n in share.go_on(ended)])
            finished = self._completions(requests, drawn)
            self._keep(params, finished)
            on_batch(finished)
            completions += finished
        return completions

    def _keep(self, params: SamplingParams, drawn: Sequence[Completion]) -> None:
        if self._journal is not None:
            self._journal.keep(self._version, params, drawn)

    def _completions(
        self, requests: Sequence[SampleRequest], drawn: Sequence[Drawn]
    ) -> list[Completion]:
        if not drawn:
            return []  # a tokenizer takes an empty list for one empty text
        ids = [list(d.tokens) for d in drawn]
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            Completion(requests[d.number], d.tokens, d.logprobs, d.finish, text)
            for d, text in zip(drawn, texts, strict=True)
        ]

    def rest(self) -> None:
        """Give the GPUs back to the trainer, until the next push."""
        if not self._awake:
            return
        self._awake = False
        self._peers.together(lambda: self._with_engine("sleep"))
        if self._policy is not None:
            self._policy.take_room()

    def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            self._engine.close()

    def _with_engine(self, method: str, *arguments: Any) -> Any:
        return None if self._engine is None else self._engine.call(method, *arguments)


def probe(vocabulary: int, tokens: int) -> list[list[int]]:
    """The sequences on which trainer and engines must agree: the same in every attempt."""
    stream = np.random.Generator(np.random.Philox(key=draw_seed("probe of a push")))
    drawn: list[list[int]] = stream.integers(vocabulary, size=(PROBE_SEQUENCES, tokens)).tolist()
    return drawn


@contextmanager
def _taking_on_weights(version: int) -> Iterator[None]:
    """Whether the stage can ever go on from an engine's error is judged here: an engine that has
    taken on this model's weights before knows them."""
    try:
        yield
    except EngineError as e:
        if version > 0 or any(words in e.error for words in OF_A_MACHINE):
            raise
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "SamplerRefused",
            f"vLLM does not take on this model's weights: {e.error}; use sampler: transformers "
            "for this model",
        ) from e


def _require_agreement(difference: float, limit: float, version: int) -> None:
    if difference <= limit:  # not of NaN
        return
    advice = (
        "it is tried again"
        if version > 0
        else "use sampler: transformers for this model, or raise vllm.probeLimit where rounding "
        "alone comes to so much"
    )
    raise StageFailure(
        ExitCode.TEMPORARY if version > 0 else ExitCode.BAD_CONFIGURATION,
        "SamplerDisagrees",
        f"after the push of step {version} vLLM's logprobs are {difference:.2g} nats from the "
        f"trainer's on average, more than {limit:g}: what it draws would not be from these "
        f"weights; {advice}",
    )


def _one(number: int, request: SampleRequest, params: SamplingParams) -> Asked:
    return Asked(
        number,
        request.prompt,
        request.seed >> 1,  # vLLM's seeds are signed
        params.temperature,
        params.top_p,
        params.max_tokens,
    )


def _asked(request: SampleRequest) -> tuple[str, int]:
    return request.prompt_id, request.sample
