"""What a GPU does for its user: tokens a second, MFU and seconds by phase of SFT and of RL.

    python -m benchmarks.trainer --only gpu                    (on a machine with a GPU)
    python -m benchmarks.trainer --only gpu --shape tiny       (anywhere: does it run?)

Both are the product's own stages, each a process, on random weights in Qwen2.5's shapes
(trainer_gpu_shapes.py): documents of different length, packed without padding; responses drawn by
vLLM on the same GPU, which sleeps while the policy trains and is woken and handed the weights
before each step. Half of the responses are right by chance (coin_reward.py), since a step without
signal is not trained on.

MFU is the trainer's own account (policy/flops.py): a forward pass for drawing, three for training,
against what the GPU does at most in dense bfloat16, over all seconds of a step; what is computed
twice counts once.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.progress import Steps
from benchmarks.stage_curves import Row, curves_of, metric
from benchmarks.trainer_gpu_shapes import (
    ON_A_GPU,
    SHAPES,
    WARM_UP,
    Shape,
    documents,
    in_words,
    prompts,
    random_model,
)
from benchmarks.trainer_models import BUILD

ROOT = BUILD / "gpu"
PHASES = ("push", "generate", "reward_wait", "train")
NO_GPU = "there is no GPU on the machine that measured"
NO_VLLM = "vLLM is not installed, so the transformers sampler draws"


def gpu_section(shapes: Sequence[str] | None) -> dict[str, Any]:
    """Each shape. shapes: None means those that a GPU is measured with; where there is no GPU,
    they are not measured, and the result says so."""
    device = _device()
    if device is None and shapes is None:
        print(f"  {NO_GPU}: nothing is measured (--shape tiny shows that it runs)", flush=True)
        return {"notMeasured": NO_GPU}
    sampler = "vllm" if find_spec("vllm") else "transformers"
    if sampler != "vllm":
        print(f"  {NO_VLLM}", flush=True)
    dtype = "float32" if device is None else "bfloat16"
    chosen = shapes or ON_A_GPU
    found: dict[str, Any] = {
        "device": device or "CPU",
        "dtype": dtype,
        "sampler": sampler,
        "shapes": {},
    }
    steps = Steps("stages", 2 * len(chosen))
    for name in chosen:
        shutil.rmtree(ROOT, ignore_errors=True)
        try:
            model = random_model(SHAPES[name], ROOT, dtype)
            found["shapes"][name] = {"sft": _sft(SHAPES[name], model, dtype)}
            steps.done()
            found["shapes"][name]["rl"] = _rl(SHAPES[name], model, dtype, sampler)
            steps.done()
        finally:
            shutil.rmtree(ROOT, ignore_errors=True)
    return found


def _device() -> str | None:
    """Of a process of its own: whoever asks holds memory of the GPU."""
    work = "import torch as t; print(t.cuda.get_device_name() if t.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", work], check=True, stdout=subprocess.PIPE)
    return done.stdout.decode().strip() or None


def _sft(shape: Shape, model: Path, dtype: str) -> dict[str, Any]:
    """Documents packed into rows."""
    texts = documents(shape)
    asked = prompts(shape, len(texts))
    data = _data({"problem": p, "response": in_words(t)} for p, t in zip(asked, texts, strict=True))
    settings = {
        "budget": {"steps": shape.steps + WARM_UP},
        "rowTokens": shape.row,
        "rowsPerStep": shape.rows,
        "tokensPerMicroBatch": shape.row,
        "optimizer": {"learningRate": 1e-5},
        **_shared(dtype),
    }
    return sft_figures(_counted({"sft": settings}, "sft", model, data))


def sft_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Medians over the steps."""
    return {
        "stepSeconds": _middle(rows, "step_seconds", 3),
        "documentTokensPerSecond": _middle(rows, "tokens_per_second", 1),
        "paddingShare": _middle(rows, "padding_share"),
        "mfu": _middle(rows, "mfu"),
    }


def _rl(shape: Shape, model: Path, dtype: str, sampler: str) -> dict[str, Any]:
    """GRPO with the sampler beside the trainer."""
    steps = shape.steps + WARM_UP
    data = _data({"problem": p, "answer": "1"} for p in prompts(shape, shape.prompts * steps))
    settings = {
        "promptsPerStep": shape.prompts,
        "groupSize": {"fixed": shape.group},
        "maxResponseTokens": shape.longest,
        "temperature": {"fixed": 1.0},
        "stop": {"steps": steps},
        "reward": {"function": "benchmarks.coin_reward:by_chance"},
        "sampler": sampler,
        "tokensPerMicroBatch": max(shape.row, shape.longest + shape.prompt),
        "optimizer": {"learningRate": 1e-6},
        "verifier": {"workers": 1, "service": "local"},
        **_shared(dtype),
    }
    return rl_figures(_counted({"mathRL": settings}, "rl", model, data))


def rl_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Medians over the steps."""
    trained = median(metric(r, "trained_tokens") / metric(r, "train_seconds") for r in rows)
    return {
        "stepSeconds": _middle(rows, "step_seconds", 3),
        "seconds": {p: _phase(rows, f"{p}_seconds") for p in PHASES},
        "deviceTokensPerSecond": _middle(rows, "device_tokens_per_second", 1),
        "drawnTokensPerSecond": _middle(rows, "generated_tokens_per_second", 1),
        "trainedTokensPerSecond": round(trained, 1),
        "idleShare": _middle(rows, "idle_share"),
        "tailSeconds": _middle(rows, "tail_seconds"),
        "responseTokens": _middle(rows, "response_tokens", 1),
        "truncatedShare": _middle(rows, "truncated_share"),
        "mismatchKl": _middle(rows, "mismatch_kl", 8),
        "mfu": _middle(rows, "mfu"),
    }


def _phase(rows: Sequence[Row], name: str) -> float:
    """Median seconds; every step of RL has all of these."""
    return round(median(metric(row, name) for row in rows), 4)


def _middle(rows: Sequence[Row], name: str, digits: int = 4) -> float | None:
    """None where no step says it: there is no MFU without a GPU whose peak is known."""
    values = [r[name] for r in rows if r.get(name) is not None]
    return round(median(values), digits) if values else None


def _shared(dtype: str) -> dict[str, Any]:
    return {
        "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
        "loading": {"dtype": dtype},
        "layout": "packed",
        "saving": {"minutesAtRisk": 600},
    }


def _data(rows: Any) -> Path:
    path = ROOT / "data.jsonl"
    path.write_text("".join(json.dumps({**row, "domain": "math"}) + "\n" for row in rows))
    return path


def _counted(settings: Mapping[str, Any], name: str, model: Path, data: Path) -> Sequence[Row]:
    """Metrics of the stage's steps after its first ones."""
    return curves_of(settings, f"gpu-{name}", model, data, ROOT / "store")[WARM_UP:]
