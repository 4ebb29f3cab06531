"""vLLM draws from the weights that were pushed last, and from nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.vllm_sampler import VLLMSampler
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import StageFailure, StopFlag

from tests.trainer.policy.batches import STEPS, a_batch
from tests.trainer.rollout.vllm_models import (
    LONGEST,
    a_model,
    a_sampler_of_two_workers,
    a_vllm_sampler,
    remove_what_workers_shared,
)

pytestmark = pytest.mark.slow
"""20 to 60 s for each of three engines, which all tests share; tests themselves take seconds."""
PROMPTS = ["2 + 2 =", "A much longer question, with words?", "x"]
OTHER_CONTEXT: dict[str, Any] = {"ropeTheta": 300.0, "maxPositionEmbeddings": 2 * LONGEST}
"""A rotary base so small that a model with another one says something else within a few tokens."""


@dataclass
class Desk:
    """A policy and the engine that draws from it."""

    directory: Path
    loading: ModelLoading
    sampler: VLLMSampler
    policy: TorchPolicy
    version: int = field(default=0)

    def push(self, policy: Any = None) -> None:
        self.version += 1
        self.sampler.push(policy or self.policy, self.version)

    def step(self, seed: int) -> None:
        self.policy.take_room()  # the engine stays awake, as it never does in a stage
        self.policy.step(a_batch(seed=seed))

    def draw(self, temperature: float = 1.0, *, samples: int = 6, name: str = "") -> Any:
        tokenizer = load_tokenizer(self.directory)
        requests = [
            SampleRequest(p, tuple(tokenizer(p)["input_ids"]), s, draw_seed(name, p, s))
            for p in PROMPTS
            for s in range(samples)
        ]
        return self.generate(requests, SamplingParams(temperature, 1.0, 40))

    def generate(
        self, requests: list[SampleRequest], params: SamplingParams
    ) -> dict[tuple[str, int], Completion]:
        heard: list[Completion] = []
        drawn = self.sampler.generate(requests, params, heard.extend)
        assert heard == drawn
        assert len(drawn) == len(requests)
        return {(c.request.prompt_id, c.request.sample): c for c in drawn}


def a_policy(directory: Path, loading: ModelLoading, rate: float = 3e-3) -> TorchPolicy:
    return TorchPolicy(
        directory,
        loading=loading,
        optimizer=Optimizer(learning_rate=rate),
        total_steps=None,
        tokens_per_micro_batch=512,
    )


@pytest.fixture(scope="module", params=["tied", "untied, other context", "two workers"])
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[Desk]:
    tied = request.param == "tied"
    directory = a_model(tmp_path_factory.mktemp("model"), tiny_model, tied=tied)
    store = tmp_path_factory.mktemp("store")
    told = {"dtype": "float32", **(OTHER_CONTEXT if "context" in request.param else {})}
    longest = int(told.get("maxPositionEmbeddings", LONGEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        sampler = (
            a_sampler_of_two_workers(directory, store / "journal", StopFlag())
            if request.param == "two workers"
            else a_vllm_sampler(store, directory, StopFlag(), longest=longest, loading=told)
        )
    loading = ModelLoading.parse(told)
    yield Desk(directory, loading, sampler, a_policy(directory, loading))
    sampler.close()
    remove_what_workers_shared()


def trainers_logprobs(desk: Desk, c: Completion, temperature: float) -> torch.Tensor:
    """As the policy's own module says."""
    ids = torch.tensor([[*c.request.prompt, *c.tokens]])
    with torch.no_grad():
        logits = desk.policy.model(ids).logits[0, len(c.request.prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1)[range(len(c.tokens)), list(c.tokens)]


def test_after_every_push_of_twenty_steps_trainer_and_engine_agree(desk: Desk) -> None:
    for seed in range(STEPS):
        desk.step(seed)
        desk.push()
        assert desk.sampler.probe_difference < 1e-5
        for c in desk.draw(0.7, samples=1, name=str(seed)).values():
            drawn = torch.tensor(c.logprobs)
            assert (drawn - trainers_logprobs(desk, c, 0.7)).abs().max() < 1e-4


def test_what_an_engine_remembers_of_a_prompt_goes_with_the_weights_that_read_it(
    desk: Desk,
) -> None:
    """A prompt of more tokens than a block of its cache has (128 on a CPU), and an engine that does
    not sleep in between, which would empty the cache, too."""
    tokens = tuple(load_tokenizer(desk.directory)("12 + 34 = " * 14)["input_ids"])
    assert 128 < len(tokens) < LONGEST - 8
    requests = [SampleRequest("long", tokens, s, draw_seed("long", s)) for s in range(2)]
    for seed in range(2):
        desk.step(seed)
        desk.push()
        for c in desk.generate(requests, SamplingParams(1.0, 1.0, 8)).values():
            drawn = torch.tensor(c.logprobs)
            assert (drawn - trainers_logprobs(desk, c, 1.0)).abs().max() < 1e-4


def test_a_push_changes_what_is_drawn(desk: Desk) -> None:
    desk.push()
    before = desk.draw(0.0, samples=1)
    for seed in range(5):
        desk.step(seed)
    unpushed = desk.draw(0.0, samples=1)
    desk.push()
    after = desk.draw(0.0, samples=1)
    assert texts(unpushed) == texts(before) != texts(after)


def texts(drawn: dict[Any, Completion]) -> dict[Any, str]:
    return {asked: c.text for asked, c in drawn.items()}


def test_a_draw_is_its_seeds_and_nobody_elses(desk: Desk) -> None:
    desk.push()
    straight, again = desk.draw(), desk.draw()
    few, others = desk.draw(samples=2), desk.draw(name="other seeds")
    assert texts(again) == texts(straight)
    assert texts(few) == {asked: straight[asked].text for asked in few}
    assert texts(others) != texts(straight)
    assert len(set(texts(straight).values())) > len(straight) // 2


def test_a_response_ends_at_its_end_token_or_at_the_limit(desk: Desk) -> None:
    desk.push(a_policy(desk.directory, desk.loading))  # as it came: training may have unlearned it
    drawn = desk.draw(samples=30).values()
    assert {c.finish for c in drawn} == {"stop", "length"}
    for c in drawn:
        assert 1 not in c.tokens[:-1]
        assert (c.tokens[-1] == 1) == (c.finish == "stop")
        assert c.finish == "stop" or len(c.tokens) == 40
        assert len(c.logprobs) == len(c.tokens)
        assert "<eos>" not in c.text


def test_more_responses_than_are_decoded_at_once_all_come(desk: Desk) -> None:
    desk.push()
    assert len(desk.draw(samples=20, name="many")) == 60  # 16 at once


def test_prompts_that_are_longer_together_than_what_is_read_at_once_are_drawn(desk: Desk) -> None:
    desk.push()
    rest = (5,) * (LONGEST - 10)  # 16 times as much is more than the 2,048 tokens of a step
    requests = [SampleRequest(f"long {n}", (3 + n, *rest), 0, n) for n in range(16)]
    assert len(desk.generate(requests, SamplingParams(1.0, 1.0, 4))) == 16


def test_an_engine_with_other_weights_than_the_trainers_is_noticed(desk: Desk) -> None:
    other = a_policy(desk.directory, desk.loading, rate=0.1)
    for seed in range(3):
        other.step(a_batch(seed=seed))

    class Confused(TorchPolicy):
        weights = other.weights

    desk.policy.__class__ = Confused
    try:
        with pytest.raises(StageFailure, match=r"logprobs are .* nats from the trainer's") as e:
            desk.push()
    finally:
        desk.policy.__class__ = TorchPolicy
    assert e.value.code == ExitCode.TEMPORARY  # it was right before
    desk.push()


def test_the_context_of_the_stage_is_the_engines(desk: Desk) -> None:
    """It agrees with a trainer that has the stage's rotary base, and not with one that has the
    model's own."""
    desk.push()
    assert desk.sampler.probe_difference < 1e-5
    as_it_came = a_policy(desk.directory, ModelLoading(dtype="float32"))
    as_it_came.model.load_state_dict(desk.policy.model.state_dict())
    if desk.loading.rope_theta is None:
        desk.push(as_it_came)
    else:
        with pytest.raises(StageFailure, match="nats from the trainer's"):
            desk.push(as_it_came)
    desk.push()
