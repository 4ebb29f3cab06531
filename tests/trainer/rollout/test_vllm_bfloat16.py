"""A vLLM engine in bfloat16, weights that travel in many buckets, and a cache with little room."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.rollout import vllm_sampler
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.engine_messages import Asked, Drawn
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams
from acereason_trainer.rollout.vllm_sampler import VLLMSampler
from acereason_trainer.stage import StageFailure, StopFlag

from tests.trainer.rollout.vllm_models import VLLM, a_model, a_vllm_sampler, engines

pytestmark = pytest.mark.slow
"""20 to 60 s for the engine, which all tests share."""
SMALL_BUCKET = 10_000
"""Bytes: less than the embedding has."""
ROOM_FOR = 6
"""Sequences of 160 tokens, one and a half times over, in a cache of 9 blocks of 128."""


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[tuple[Path, VLLMSampler]]:
    directory = a_model(tmp_path_factory.mktemp("model"), tiny_model, tied=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(vllm_sampler, "BUCKET", SMALL_BUCKET)
        sampler = a_vllm_sampler(
            tmp_path_factory.mktemp("store"),
            directory,
            StopFlag(),
            loading={"dtype": "bfloat16"},
            vllm={**VLLM, "cacheGib": 0.0003},
        )
    yield directory, sampler
    sampler.close()


def a_policy(directory: Path) -> TorchPolicy:
    return TorchPolicy(
        directory,
        loading=ModelLoading(dtype="bfloat16"),
        optimizer=Optimizer(learning_rate=1e-6),
        total_steps=None,
        tokens_per_micro_batch=512,
    )


def test_an_engine_is_given_as_much_at_once_as_it_has_room_for(
    made: tuple[Path, VLLMSampler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first of responses as long as they may be, then of such as it draws."""
    directory, sampler = made
    tokenizer = load_tokenizer(directory)
    add, drawn = EngineClient.add, EngineClient.drawn
    under_way: list[int] = [0]

    def added(engine: EngineClient, asked: Sequence[Asked]) -> None:
        under_way.append(under_way[-1] + len(asked))
        add(engine, asked)

    def came(engine: EngineClient) -> tuple[Drawn, ...]:
        done = drawn(engine)
        under_way.append(under_way[-1] - len(done))
        return done

    monkeypatch.setattr(EngineClient, "add", added)
    monkeypatch.setattr(EngineClient, "drawn", came)
    prompt, policy = tuple(tokenizer("x")["input_ids"]), a_policy(directory)
    first, most = [], []
    for version in (4, 5):
        sampler.push(policy, version)
        under_way[:] = [0]
        numbers = range(40 * version, 40 * version + 40)
        requests = [SampleRequest("x", prompt, n, n) for n in numbers]
        completions = sampler.generate(requests, SamplingParams(1.0, 1.0, 24), lambda _: None)
        assert len(completions) == len(requests)
        first.append(under_way[1])
        most.append(max(under_way))
        sampler.rest()
    assert first == [ROOM_FOR, VLLM["maxSequences"]]
    assert ROOM_FOR < most[0] <= VLLM["maxSequences"], "they turned out to be shorter"


def test_a_rank_whose_engine_fails_in_a_push_goes_on_gathering_with_the_others(
    made: tuple[Path, VLLMSampler],
) -> None:
    """The last test here: it costs the engine."""
    directory, sampler = made
    gathered: list[str] = []

    class Watched(TorchPolicy):
        def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
            for name, weight in super().weights():
                for engine in engines():
                    os.kill(engine, signal.SIGKILL)
                gathered.append(name)
                yield name, weight

    policy = a_policy(directory)
    names = [name for name, _ in policy.weights()]
    policy.__class__ = Watched
    with pytest.raises(StageFailure, match="vLLM engine of rank 0 is gone") as e:
        sampler.push(policy, 5)
    assert e.value.code == ExitCode.TEMPORARY
    assert gathered == names
