"""What it costs to hand trained weights to vLLM, against copying as many bytes in memory.

A stage of SmolLM2-135M with next to nothing to draw; what counts is its own `push_seconds`. A push
sums the weights, copies them bucket by bucket into shared memory, has vLLM load them, and holds its
logprobs of a probe against the trainer's: all of it is timed, but for the first, which is every
engine's slowest.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.intervals import quartiles
from benchmarks.stage_curves import curves_of
from benchmarks.trainer_models import BUILD, REAL, Subject

STORE = BUILD / "push"
NO_VLLM = "vLLM is not installed"
WARM_UP = 1
COPIES = 5


def push_section(pushes: int) -> dict[str, Any]:
    """So many pushes of SmolLM2-135M's weights in float32."""
    if find_spec("vllm") is None:
        print(f"  {NO_VLLM}: nothing is measured", flush=True)
        return {"notMeasured": NO_VLLM}
    shutil.rmtree(STORE, ignore_errors=True)
    settings = {"mathRL": _settings(pushes + WARM_UP)}
    try:
        rows = curves_of(settings, "push", REAL.base(), REAL.data / "rl-math.jsonl", STORE)
    finally:
        shutil.rmtree(STORE, ignore_errors=True)
    size = weight_bytes(REAL)
    return figures_of(size, rows[WARM_UP:], [_copy_seconds(size) for _ in range(COPIES)])


def figures_of(
    size: int, rows: Sequence[Mapping[str, Any]], copies: Sequence[float]
) -> dict[str, Any]:
    """MB/s. size: bytes of the weights. rows: of the stage's steps. copies: seconds of each."""
    seconds = [float(row["push_seconds"]) for row in rows]
    return {
        "model": REAL.name,
        "megabytes": round(size / 1e6, 1),
        "pushes": len(seconds),
        "seconds": quartiles(seconds),
        "megabytesPerSecond": {
            "push": quartiles([size / 1e6 / s for s in seconds], 1),
            "copy": quartiles([size / 1e6 / s for s in copies], 1),
        },
    }


def weight_bytes(subject: Subject) -> int:
    """Of its weights in float32."""
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.policy.loading import load_config  # torch takes seconds
    from acereason_trainer.policy.memory_check import shape_of

    shape = shape_of(load_config(subject.base(), ModelLoading(dtype="float32")))
    assert shape is not None, "a plain decoder"
    return 4 * shape.parameters


def _settings(steps: int) -> dict[str, Any]:
    return {
        "promptsPerStep": 2,
        "groupSize": {"fixed": 2},
        "maxResponseTokens": 4,
        "temperature": {"fixed": 1.0},
        "stop": {"steps": steps},
        "reward": {"function": "benchmarks.coin_reward:by_chance"},
        "sampler": "vllm",
        "vllm": {"maxSequences": 4, "cacheGib": 0.25},
        "tokensPerMicroBatch": 1024,
        "optimizer": {"learningRate": 1e-6},
        "prompting": {"template": "plain", "mathInstruction": "", "thinkOpen": ""},
        "loading": {"dtype": "float32"},
        "verifier": {"workers": 1, "service": "local"},
        "saving": {"minutesAtRisk": 600},
    }


def _copy_seconds(size: int) -> float:
    """From memory that is there to memory that is there."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    began = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - began
