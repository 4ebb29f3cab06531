"""On a GPU: tokens a second and MFU of training and of drawing, for Qwen2.5-shaped random weights.

`python -m benchmarks.trainer_gpu SHAPE` measures one shape and prints JSON; `gpu_section` starts
each in a process of its own. Without a GPU there is no section.

MFU is the trainer's own account (policy/flops.py): a forward pass for drawing, three for training,
against what the GPU does at most in dense bfloat16; recomputed layers count once.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "Qwen2.5-0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
                     "num_attention_heads": 14, "num_key_value_heads": 2},
    "Qwen2.5-1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                     "num_attention_heads": 12, "num_key_value_heads": 2},
}  # fmt: skip
VOCABULARY = 151_936
ROW, ROWS = 4096, 8
"""Tokens of a row and rows of a training step."""
PROMPTS, GROUP, PROMPT, RESPONSE = 16, 16, 256, 1024
"""Of a step's drawing."""
STEPS, WARM_UP = 5, 2


def gpu_section() -> dict[str, Any] | None:
    """Each shape; None where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    for shape in SHAPES:
        print(f"  {shape} ...", flush=True)
        command = [sys.executable, "-m", "benchmarks.trainer_gpu", shape]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[shape] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(shape: str) -> dict[str, Any]:
    """Train and draw with one shape."""
    from acereason_trainer.__main__ import configure_torch

    configure_torch()
    with tempfile.TemporaryDirectory() as folder:
        policy, tokenizer = _policy(shape, Path(folder))
        return {
            "parameters": sum(p.numel() for p in policy.model.parameters()),
            "train": _training(policy),
            "draw": _drawing(policy, tokenizer),
        }


def _policy(shape: str, folder: Path) -> tuple[Any, Any]:
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.config.sft import Optimizer
    from acereason_trainer.policy.torch_policy import TorchPolicy
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    words = {f"w{n}": n for n in range(VOCABULARY - 1)} | {"<eos>": VOCABULARY - 1}
    core = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    make_tokenizer: Any = PreTrainedTokenizerFast  # transformers declares no types for it
    tokenizer = make_tokenizer(tokenizer_object=core, eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    sizes: dict[str, Any] = {**SHAPES[shape]}
    Qwen2Config(
        **sizes,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        max_position_embeddings=32768,
        eos_token_id=VOCABULARY - 1,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(folder)
    (folder / "from_config.json").write_text(json.dumps({"seed": 0}))
    policy = TorchPolicy(
        folder,
        loading=ModelLoading(dtype="bfloat16"),
        optimizer=Optimizer(learning_rate=1e-6),
        total_steps=None,
        tokens_per_micro_batch=2 * ROW,
        activation_checkpointing=True,
    )
    return policy, tokenizer


def _training(policy: Any) -> dict[str, float | None]:
    """Steps over full rows of two documents each."""
    import torch
    from acereason_trainer.policy.protocol import Batch

    half = ROW // 2
    generator = torch.Generator().manual_seed(0)
    sequences = torch.randint(VOCABULARY - 1, (2 * ROWS, half), generator=generator).tolist()
    weight = torch.full((half - 1,), 1.0 / (2 * ROWS * (half - 1)))
    batch = Batch(
        sequences=sequences,
        prompt_lengths=[1] * len(sequences),
        token_weights=[weight] * len(sequences),
        rows=[[2 * n, 2 * n + 1] for n in range(ROWS)],
    )
    seconds = _best(lambda: policy.step(batch))
    flops = _arithmetic(policy.model).training([half] * len(sequences))
    return _rates(ROWS * ROW, flops, seconds)


def _drawing(policy: Any, tokenizer: Any) -> dict[str, float | None]:
    """A step's responses, all of full length: random weights hardly ever end one."""
    from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams
    from acereason_trainer.rollout.transformers_sampler import TransformersSampler

    sampler = TransformersSampler(
        tokenizer, sequences_per_batch=PROMPTS * GROUP, check_stop=lambda: None
    )
    sampler.push(policy, version=0)
    requests = [
        SampleRequest(str(p), tuple(range(p, p + PROMPT)), g, seed=p * GROUP + g)
        for p in range(PROMPTS)
        for g in range(GROUP)
    ]
    drawn: list[int] = []

    def draw() -> None:
        params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=RESPONSE)
        completions = sampler.generate(requests, params, lambda _: None)
        drawn.append(sum(len(c.tokens) for c in completions))

    seconds = _best(draw, steps=2, warm_up=1)
    # Each prompt is read once, and written from by its whole group.
    arithmetic = _arithmetic(policy.model)
    flops = PROMPTS * arithmetic.reading(PROMPT) + len(requests) * arithmetic.writing(
        PROMPT, RESPONSE
    )
    return _rates(drawn[-1], flops, seconds)


def _best(work: Any, steps: int = STEPS, warm_up: int = WARM_UP) -> float:
    """Least seconds of several goes."""
    import torch

    seconds = []
    for _ in range(warm_up + steps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds[warm_up:])


def _arithmetic(model: Any) -> Any:
    """Of weights that are in no file: the tied table is the head's matrix too."""
    from acereason_trainer.policy.flops import Arithmetic

    return Arithmetic(
        weights=sum(p.numel() for p in model.parameters() if p.dim() == 2),
        attention=model.config.num_hidden_layers * model.config.hidden_size,
    )


def _rates(tokens: int, flops: float, seconds: float) -> dict[str, float | None]:
    from acereason_trainer.config.common import ModelLoading, Telemetry
    from acereason_trainer.policy.flops import peak_flops

    peak = peak_flops(ModelLoading(dtype="bfloat16"), Telemetry())
    return {
        "tokensPerSecond": round(tokens / seconds, 1),
        "teraflops": round(flops / seconds / 1e12, 2),
        "mfu": None if peak is None else round(flops / seconds / peak, 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
