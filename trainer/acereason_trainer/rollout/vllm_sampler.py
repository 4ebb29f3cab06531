"""The sampler for GPUs: vLLM beside the trainer, one engine for each rank or for each few of them.

Trainer and engines take turns with the GPUs. A push moves what only training needs to the host,
wakes the engines, hands them the weights in buckets and holds their logprobs of a fixed probe
against the trainer's; `rest` gives everything back. Requests come longest first: each engine is
dealt its part of them in turn, as many as it decodes at once, and what is left is one queue from
which all engines take as their responses end. A response draws from its own seed; its last bits
depend on what is decoded beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.peers import Peers
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.engine_messages import Asked, Drawn
from acereason_trainer.rollout.protocol import Completion, OnBatch, SampleRequest, SamplingParams
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.seeds import draw_seed
from acereason_trainer.rollout.weight_buckets import SharedMemory, in_buckets
from acereason_trainer.stage import StageFailure, Stopped

PROBE_SEQUENCES = 4
PROBE_TOKENS = 64
"""Of each sequence at most. Tokens are drawn from the whole vocabulary, so that every row of the
embedding has its chance to be the wrong one."""
AGREE = {"float32": 1e-3, "bfloat16": 0.1}
"""Mean of |log p of the engine - log p of the trainer| over the probe from which on they do not
agree, in nats. Other kernels come to 1e-6 and 2e-2; one stale matrix to 1 and more."""


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
        dtype: str,
        vocabulary: int,
        check_stop: Callable[[], None],
        journal: ResponseJournal,
        peers: Peers,
    ) -> None:
        """engine: where this rank has one (number `number` of so many); the others help pushing.
        sequences: decoded at once by an engine. longest: tokens of a sequence at most."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._engines = engines
        self._number = number
        self._sequences = sequences
        self._dtype = dtype
        self._check_stop = check_stop
        self._journal = journal
        self._peers = peers
        self._policy: Policy | None = None
        self._version = -1
        self._drawings = 0
        self._probe = probe(vocabulary, min(PROBE_TOKENS, longest - 1))
        self._memory = SharedMemory.made() if engine is not None else None
        self.probe_difference = 0.0
        """Mean difference of the probe's logprobs after the last push, in nats."""
        if engine is not None and self._memory is not None:
            engine.call("attach", self._memory.path, self._memory.size)

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        return self._version

    def push(self, policy: Policy, version: int) -> None:
        """Make room, wake the engines, hand them the weights and look at whether they have them.

        Raises StageFailure where an engine does not: for good at the first push, since vLLM then
        does not know this model as the trainer does.
        """
        first, self._policy = self._policy is None, policy
        self._peers.together(policy.make_room)  # an engine may use the GPUs of several ranks
        self._peers.together(lambda: self._with_engine("begin_push"))
        self._send_weights(policy)
        self._with_engine("end_push")
        ours = policy.logprobs(self._probe)
        theirs = self._with_engine("score", self._probe)
        if theirs is not None:
            pairs = zip(ours, theirs, strict=True)
            apart = np.concatenate([np.abs(o.numpy() - np.array(t)) for o, t in pairs])
            self.probe_difference = float(apart.mean())
            _require_agreement(self.probe_difference, self._dtype, version, first=first)
        self._version = version

    def _send_weights(self, policy: Policy) -> None:
        if self._engine is None or self._memory is None:
            for _ in policy.weights():  # gathering them takes all ranks
                pass
            return
        for pieces in in_buckets(policy.weights(), self._memory):
            self._engine.call("take_bucket", pieces)

    def generate(
        self, requests: Sequence[SampleRequest], params: SamplingParams, on_batch: OnBatch
    ) -> list[Completion]:
        """Draw this rank's part of the requests, in the order in which they end.

        What an earlier attempt has drawn of them is the first rank's part.
        """
        kept = self._peers.led(lambda: self._journal.find(self._version, params, requests))
        known = {_asked(c.request) for c in kept}
        left = [r for r in requests if _asked(r) not in known]
        self._drawings += 1
        take = self._peers.queue(f"drawing-{self._drawings}")
        completions = kept if self._peers.leads else []
        if completions:
            self._journal.keep(self._version, params, completions)
            on_batch(completions)
        if self._engine is None:
            return completions
        return completions + self._draw(self._engine, left, take, params, on_batch)

    def _draw(
        self,
        engine: EngineClient,
        requests: Sequence[SampleRequest],
        take: Callable[[], int],
        params: SamplingParams,
        on_batch: OnBatch,
    ) -> list[Completion]:
        """Draw what is dealt to this engine, and then what it takes from the queue."""
        at_once = min(self._sequences, -(-len(requests) // self._engines))
        dealt = at_once * self._engines
        under_way = set(range(len(requests))[self._number : dealt : self._engines])
        engine.add([_one(number, requests[number], params) for number in sorted(under_way)])
        completions: list[Completion] = []
        while under_way:
            try:
                drawn = engine.drawn(self._check_stop)
            except Stopped:
                engine.call("abort", sorted(under_way))
                raise
            under_way -= {d.number for d in drawn}
            more = [n for n in (dealt + take() for _ in drawn) if n < len(requests)]
            engine.add([_one(number, requests[number], params) for number in more])
            under_way |= set(more)
            finished = self._completions(requests, drawn)
            self._journal.keep(self._version, params, finished)
            on_batch(finished)
            completions += finished
        return completions

    def _completions(
        self, requests: Sequence[SampleRequest], drawn: Sequence[Drawn]
    ) -> list[Completion]:
        ids = [list(d.tokens) for d in drawn]
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            Completion(requests[d.number], d.tokens, d.logprobs, d.finish, text)
            for d, text in zip(drawn, texts, strict=True)
        ]

    def rest(self) -> None:
        """Give the GPUs back to the trainer, until the next push."""
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


def _require_agreement(difference: float, dtype: str, version: int, *, first: bool) -> None:
    if difference <= AGREE[dtype]:  # not of NaN
        return
    advice = "use sampler: transformers for this model" if first else "it is tried again"
    raise StageFailure(
        ExitCode.BAD_CONFIGURATION if first else ExitCode.TEMPORARY,
        "SamplerDisagrees",
        f"after the push of step {version} vLLM's logprobs are {difference:.2g} nats from the "
        f"trainer's on average, more than {AGREE[dtype]:g}: what it draws would not be from the "
        f"model that is trained; {advice}",
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
