"""The sampler draws what the model says, from seeds alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.policy.loading import load_model, load_tokenizer
from acereason_trainer.rollout import kv_cache
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.transformers_sampler import TransformersSampler, choose
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import Stopped

PROMPTS = ["2 + 2 =", "A much longer question, with words?", "x"]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return load_model(tiny_model, ModelLoading(dtype="float32"))


def a_sampler(tiny_model: Path, model: Any, *, batch: int = 64, **options: Any):
    sampler = TransformersSampler(
        load_tokenizer(tiny_model),
        sequences_per_batch=batch,
        check_stop=options.pop("check_stop", lambda: None),
        **options,
    )
    sampler.push(SimpleNamespace(model=model), version=7)
    return sampler


def some_requests(tiny_model: Path, samples: int = 4) -> list[SampleRequest]:
    tokenizer = load_tokenizer(tiny_model)
    return [
        SampleRequest(p, tuple(tokenizer(p)["input_ids"]), s, draw_seed("test", p, s))
        for p in PROMPTS
        for s in range(samples)
    ]


def ignore(_: object) -> None:
    pass


def test_greedy_equals_the_librarys_own_generation(tiny_model: Path, model: Any):
    drawn = a_sampler(tiny_model, model).generate(
        some_requests(tiny_model, 1), SamplingParams(0.0, 1.0, 40), ignore
    )
    for completion in drawn:
        prompt = torch.tensor([completion.request.prompt])
        expected = model.generate(prompt, max_new_tokens=40, do_sample=False)[0, prompt.shape[1] :]
        assert list(completion.tokens) == expected.tolist()


def test_a_response_longer_than_the_caches_first_room_is_the_same(
    tiny_model: Path, model: Any, monkeypatch: pytest.MonkeyPatch
):
    params = SamplingParams(1.0, 1.0, 40)
    roomy = a_sampler(tiny_model, model).generate(some_requests(tiny_model), params, ignore)
    monkeypatch.setattr(kv_cache, "FIRST_COLUMNS", 3)
    assert a_sampler(tiny_model, model).generate(some_requests(tiny_model), params, ignore) == roomy


def test_logprobs_are_the_trainers_under_the_same_temperature(tiny_model: Path, model: Any):
    drawn = a_sampler(tiny_model, model).generate(
        some_requests(tiny_model), SamplingParams(0.7, 1.0, 40), ignore
    )
    for c in drawn:
        ids = torch.tensor([[*c.request.prompt, *c.tokens]])
        logits = model(ids).logits[0, len(c.request.prompt) - 1 : -1] / 0.7
        expected = torch.log_softmax(logits, -1)[range(len(c.tokens)), list(c.tokens)]
        assert torch.allclose(torch.tensor(c.logprobs), expected, atol=1e-4)


def test_a_response_ends_at_its_stop_token_or_at_the_limit(tiny_model: Path, model: Any):
    drawn = a_sampler(tiny_model, model).generate(
        some_requests(tiny_model, 40), SamplingParams(1.5, 1.0, 60), ignore
    )
    kinds = {c.finish for c in drawn}
    assert kinds == {"stop", "length"}, "the test needs both"
    for c in drawn:
        assert (c.tokens[-1] == 1) == (c.finish == "stop")
        assert 1 not in c.tokens[:-1]
        assert len(c.tokens) == 60 or c.finish == "stop"


def test_every_completion_is_handed_over_once_before_the_end(tiny_model: Path, model: Any):
    seen: list[Completion] = []
    drawn = a_sampler(tiny_model, model, batch=8).generate(
        some_requests(tiny_model, 10), SamplingParams(1.5, 1.0, 60), seen.extend
    )
    assert sorted(c.request.seed for c in seen) == sorted(c.request.seed for c in drawn)
    assert [c.request for c in drawn] == some_requests(tiny_model, 10)


def test_a_completion_is_handed_over_at_the_step_at_which_it_ends(tiny_model: Path, model: Any):
    """So that it is checked while the others of its batch are still drawn."""
    lengths: list[set[int]] = []
    a_sampler(tiny_model, model).generate(
        some_requests(tiny_model, 10),
        SamplingParams(1.5, 1.0, 60),
        lambda ended: lengths.append({len(c.tokens) for c in ended}),
    )
    assert all(len(steps) == 1 for steps in lengths)
    assert len(lengths) > 3, "the test needs responses of different lengths"
    assert lengths == sorted(lengths, key=min)


def test_the_same_seeds_give_the_same_bits(tiny_model: Path, model: Any):
    def draw() -> list[Completion]:
        return a_sampler(tiny_model, model).generate(
            some_requests(tiny_model), SamplingParams(1.0, 1.0, 40), ignore
        )

    assert draw() == draw()


def test_a_journalled_batch_is_not_drawn_again(tiny_model: Path, model: Any, tmp_path: Path):
    params = SamplingParams(1.0, 1.0, 40)
    first = a_sampler(tiny_model, model, batch=4, journal=Journal(tmp_path / "1"))
    drawn = first.generate(some_requests(tiny_model), params, ignore)
    resumed = a_sampler(
        tiny_model, None, batch=4, journal=Journal(tmp_path / "2", earlier=[tmp_path / "1"])
    )
    seen: list[Completion] = []
    assert resumed.generate(some_requests(tiny_model), params, seen.extend) == drawn
    assert seen == drawn


def test_a_journal_of_other_weights_is_not_used(tiny_model: Path, model: Any, tmp_path: Path):
    journal, params = Journal(tmp_path / "j"), SamplingParams(1.0, 1.0, 8)
    requests = some_requests(tiny_model)
    drawn = a_sampler(tiny_model, model).generate(requests, params, ignore)
    journal.keep(7, params, drawn)
    found = journal.find(7, params, requests)
    assert found == drawn
    assert all(c.recalled for c in found or ())
    assert not any(c.recalled for c in drawn)
    assert journal.find(8, params, requests) is None
    assert journal.find(7, SamplingParams(0.9, 1.0, 8), requests) is None


def test_a_stop_ends_generation_within_a_token(tiny_model: Path, model: Any):
    calls = iter(range(100))

    def stop_at_the_fifth_token() -> None:
        if next(calls) == 5:
            raise Stopped

    sampler = a_sampler(tiny_model, model, check_stop=stop_at_the_fifth_token)
    with pytest.raises(Stopped):
        sampler.generate(some_requests(tiny_model), SamplingParams(1.0, 1.0, 40), ignore)
    assert next(calls) == 6


def test_draws_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(30_000, 3)
    uniforms = torch.rand(30_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, logprobs = choose(logits, uniforms, SamplingParams(1.0, 1.0, 1))
    shares = torch.bincount(tokens, minlength=3) / 30_000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.01)
    assert torch.allclose(logprobs, torch.log(torch.tensor([0.5, 0.3, 0.2]))[tokens])


def test_top_p_keeps_the_smallest_set_and_reports_the_whole_distributions_logprob():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(1000, 3)
    uniforms = torch.linspace(0, 0.999, 1000, dtype=torch.float64)
    tokens, logprobs = choose(logits, uniforms, SamplingParams(1.0, 0.6, 1))
    assert set(tokens.tolist()) == {0, 1}
    assert (tokens == 0).float().mean() == pytest.approx(0.5 / 0.8, abs=0.01)
    assert logprobs[0] == pytest.approx(torch.tensor(0.5).log().item())
