"""How far a sampler is from its trainer when all is well, and when one of them is set up wrongly.

    python -m benchmarks.mismatch --model build/smollm2/model \\
      --rows build/smollm2/data/rl-math.jsonl

Responses are drawn by the product's own sampler, which decodes token by token from a cache, and
scored by the trainer's own forward pass (scored.py), packed as it packs them. Then one side is
damaged: each line of the table is one damage, held against the same responses. Its figures are
those of docs/health.md; the limits of rl/health.py lie between its lines.

The probe is what is looked at after each push to vLLM: sequences of tokens from the whole
vocabulary, scored on both sides. Here one side reads them token by token from a cache, undamaged.
Its limit (rollout/vllm_sampler.py) lies between the lines of its column.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.config.common import ModelLoading, Prompting
from acereason_trainer.dataset import Row
from acereason_trainer.policy.amx import make_bfloat16_safe
from acereason_trainer.policy.forward import Scoring
from acereason_trainer.policy.loading import load_model, load_tokenizer
from acereason_trainer.policy.loss import FAR
from acereason_trainer.policy.protocol import Batch, Update
from acereason_trainer.prompting import render_prompt
from acereason_trainer.rl.health import is_other_model
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.transformers_sampler import TransformersSampler
from acereason_trainer.rollout.vllm_sampler import AGREE, PROBE_TOKENS, probe
from acereason_trainer.seeds import draw_seed
from torch import Tensor
from transformers import DynamicCache

from benchmarks.kept_result import write
from benchmarks.machine import machine
from benchmarks.mismatch_table import LINES_BEFORE, line
from benchmarks.scored import log_probs

RESULT = Path("benchmarks/results/mismatch.json")
SAMPLES = 4
"""Responses to each prompt."""


class Held:
    """A model that nobody trains."""

    def __init__(self, model: Any) -> None:
        self.model = model


def main() -> int:
    """Draw, score, damage, score again; print one table and write it as figures."""
    told = _arguments()
    missing = [path for path in (told.model, told.rows) if not path.exists()]
    if missing:
        print(f"{missing[0]} does not exist; name a model and its problems", file=sys.stderr)
        return 2
    make_bfloat16_safe()
    plain = Prompting(template="plain")
    tokenizer = load_tokenizer(told.model)
    rows = [json.loads(line) for line in told.rows.read_text().splitlines()[: told.prompts]]
    prompts = [tuple(render_prompt(Row(str(i), r), plain, tokenizer)) for i, r in enumerate(rows)]
    requests = [
        SampleRequest(str(i), prompt, s, draw_seed("mismatch", i, s))
        for i, prompt in enumerate(prompts)
        for s in range(SAMPLES)
    ]
    asked = {"model": str(told.model), "rows": str(told.rows), "temperature": told.temperature}
    result: dict[str, Any] = {"machine": machine(), **asked}
    found = result["lines"] = []
    print(LINES_BEFORE)
    for dtype in told.dtypes:
        model = load_model(told.model, ModelLoading.parse({"dtype": dtype}))
        scoring = Scoring(model, recompute=False)
        sampler = TransformersSampler(tokenizer, sequences_per_batch=64, check_stop=lambda: None)
        sampler.push(Held(model), version=0)
        t = told.temperature
        drawn = sampler.generate(requests, SamplingParams(t, 1.0, told.tokens), lambda _: None)
        for damage, (scored, probed) in damages(scoring, drawn, t).items():
            figures = figures_of(dtype, drawn, scored, probed)
            found.append({"numbers": dtype, "damage": damage, **figures})
            print(line(found[-1]), flush=True)
            write(told.out, result)
    return 0


def damages(
    scoring: Scoring, drawn: Sequence[Completion], t: float
) -> dict[str, tuple[list[Tensor], float | None]]:
    """What the trainer makes of the responses, well and damaged in one way after the other; and the
    probe's mean difference, which a temperature does not change."""
    model = scoring.model
    sequences = probe(model.config.get_text_config().vocab_size, PROBE_TOKENS)
    ours = read_from_cache(model, sequences)
    found: dict[str, tuple[list[Tensor], float | None]] = {
        "none": (scores(scoring, drawn, t), apart(ours, model, sequences))
    }
    for other in (0.95 * t, 0.85 * t, 0.7 * t):
        name = f"trainer at temperature {other:.2f}, sampler at {t:g}"
        found[name] = scores(scoring, drawn, other), None
    for name, spoil in SPOILED.items():
        before = {n: w.detach().clone() for n, w in model.named_parameters()}
        spoil(model)
        found[name] = scores(scoring, drawn, t), apart(ours, model, sequences)
        model.load_state_dict(before, strict=False)
    return found


@torch.inference_mode()
def read_from_cache(model: Any, sequences: Sequence[Sequence[int]]) -> Tensor:
    """[sequences, tokens - 1] log p of each token after the first, read one by one."""
    ids, cache, found = torch.tensor(sequences, device=model.device), DynamicCache(), []
    for at in range(ids.shape[1] - 1):
        logits = model(input_ids=ids[:, at : at + 1], past_key_values=cache).logits[:, -1]
        log_p = torch.log_softmax(logits.float(), -1)
        found.append(log_p.gather(1, ids[:, at + 1, None]))
    return torch.cat(found, 1)


@torch.inference_mode()
def apart(theirs: Tensor, model: Any, sequences: Sequence[Sequence[int]]) -> float:
    """Mean of |difference| of log p, in nats, from what whole forward passes make of them."""
    ids = torch.tensor(sequences, device=model.device)
    log_p = torch.log_softmax(model(input_ids=ids).logits[:, :-1].float(), -1)
    return float((log_p.gather(2, ids[:, 1:, None])[:, :, 0] - theirs).abs().mean())


def moved(share: float) -> Callable[[Any], None]:
    """Every weight by a random share of its matrix's own spread: a push that did not arrive."""

    def spoil(model: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=generator)
                spread = share * weight.float().std().nan_to_num(0.0)
                weight.add_((spread * noise).to(weight.dtype))

    return spoil


def one_layer_lost(model: Any) -> None:
    """The middle layer's feed-forward weights are another layer's."""
    layers = model.base_model.layers
    middle = len(layers) // 2
    here, other = layers[middle], layers[(middle + 1) % len(layers)]
    with torch.no_grad():
        here.mlp.down_proj.weight.copy_(other.mlp.down_proj.weight)


SPOILED: dict[str, Callable[[Any], None]] = {
    "weights moved by 2 %": moved(0.02),
    "weights moved by 5 %": moved(0.05),
    "one matrix of one layer is another's": one_layer_lost,
}


def scores(scoring: Scoring, drawn: Sequence[Completion], temperature: float) -> list[Tensor]:
    """log p of each response's tokens, as the trainer has it in its step."""
    batch = Batch(
        [[*c.request.prompt, *c.tokens] for c in drawn],
        [len(c.request.prompt) for c in drawn],
        [torch.zeros(len(c.tokens)) for c in drawn],
        temperature=temperature,
    )
    return log_probs(scoring, batch, scoring.model.device)


def figures_of(
    dtype: str, drawn: Sequence[Completion], scored: Sequence[Tensor], probed: float | None
) -> dict[str, Any]:
    """Estimates over all tokens, and the probe's, where there is one."""
    sampled = torch.tensor([p for c in drawn for p in c.logprobs])
    logs = torch.cat(list(scored)) - sampled
    k3 = torch.expm1(logs) - logs
    far = (logs.abs() > FAR).float()
    kl, share = float(k3.mean()), float(far.mean())
    update = Update(0.0, 0.0, 0.0, 0.0, kl, len(logs), mismatch_share=share)
    return {
        "tokens": len(logs),
        "entropy": float(-sampled.mean()),
        "meanKl": kl,
        "meanKlError": _error(k3),
        "largestKl": float(k3.max()),
        "share": share,
        "shareError": _error(far),
        "seen": is_other_model(update, dtype),
        **({} if probed is None else {"probe": probed}),
    }


def _error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mismatch",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.mismatch --model build/smollm2/model --rows "
        "build/smollm2/data/rl-math.jsonl --dtypes bfloat16",
    )
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face directory")
    parser.add_argument("--rows", type=Path, required=True, help="JSONL file of problems")
    parser.add_argument(
        "--prompts", type=int, default=32, help="problems, from the first (default: %(default)s)"
    )
    parser.add_argument(
        "--tokens", type=int, default=96, help="of a response, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=list(AGREE),
        default=list(AGREE),
        help="formats of numbers (default: both)",
    )
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="of the sampler (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULT, help="where the figures go (default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
