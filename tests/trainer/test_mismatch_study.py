"""The study of mismatch: its responses are scored as the trainer scores them, and no other way."""

import json
from pathlib import Path

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.policy.forward import Scoring
from acereason_trainer.policy.loading import load_model, load_tokenizer
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams
from acereason_trainer.rollout.transformers_sampler import TransformersSampler
from acereason_trainer.rollout.vllm_sampler import AGREE
from acereason_trainer.seeds import draw_seed

from benchmarks.mismatch import RESULT, Held, figures_of, scores


def test_undamaged_the_sides_agree_and_at_another_temperature_they_do_not(tiny_model: Path) -> None:
    model = load_model(tiny_model, ModelLoading(dtype="float32"))
    sampler = TransformersSampler(
        load_tokenizer(tiny_model), sequences_per_batch=8, check_stop=lambda: None
    )
    sampler.push(Held(model), version=0)
    requests = [
        SampleRequest(str(n), tuple(range(5, 8 + n)), 0, draw_seed("mismatch", n)) for n in range(4)
    ]
    drawn = sampler.generate(requests, SamplingParams(0.8, 1.0, 12), lambda _: None)
    plain = []
    for c in drawn:
        ids = torch.tensor([[*c.request.prompt, *c.tokens]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(c.request.prompt) - 1 : -1]
        log_p = torch.log_softmax(logits / 0.8, -1)
        plain.append(log_p.gather(1, torch.tensor(c.tokens)[:, None])[:, 0])
    scoring = Scoring(model, recompute=False)
    found = scores(scoring, drawn, 0.8)
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert figures_of("float32", drawn, found, None)["meanKl"] == pytest.approx(0, abs=1e-6)
    other = scores(scoring, drawn, 0.4)
    assert figures_of("float32", drawn, other, None)["seen"]


@pytest.mark.parametrize("dtype", AGREE)
def test_the_probes_limit_is_far_from_what_is_well_and_from_what_is_damaged(dtype: str) -> None:
    """By the committed result: twice the difference of other kernels, half of any damage's."""
    lines = json.loads(RESULT.read_text())["lines"]
    found = {f["damage"]: f["probe"] for f in lines if f["numbers"] == dtype and "probe" in f}
    well = found.pop("none")
    assert 2 * well < AGREE[dtype] < min(found.values()) / 2
