"""Where the time of our two slowest steps goes on a CPU: SFT's, and vLLM's drawing.

`python -m benchmarks.trainer_profile sft MODEL` and `... vllm MODEL` are the processes that
`profile_section` starts: each sees the product's own policy or engine from within. Whole steps are
timed without a profiler, and the optimizer within them; torch's profiler says what forward and
backward passes are made of, and the rest is what no operation of torch's accounts for. Of vLLM's
step the parts are timed that its scheduler takes one by one.
"""

import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from acereason_trainer.rollout.engine_client import QUIET

from benchmarks.trainer_models import BUILD, quickstart_model
from benchmarks.trainer_models import environment as contestants_environment

KINDS: Mapping[str, Sequence[str]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": ("aten::_scaled_dot_product",),
    "other arithmetic": ("aten::",),
}
"""Operations by the beginning of their names; the first kind that fits counts."""
OPTIMIZER = "the optimizer"
REST = "Python and autograd"
STEPS, TOKENS, PROMPT = 10, 4096, 40
RESPONSES, RESPONSE = 256, 112
"""As many as the GRPO of the 0.6M draws at once."""


def profile_section() -> dict[str, Any]:
    """Shares of both; of the first alone where vLLM is not installed."""
    model = quickstart_model(BUILD / "profiled", intermediate_size=512)
    return {
        what: _in_a_process(what, model)
        for what in ("sft", "vllm")
        if what != "vllm" or find_spec("vllm")
    }


def _in_a_process(what: str, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.trainer_profile", what, str(model)]
    env = {**contestants_environment(), **QUIET}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def shares_of(milliseconds: Mapping[str, float]) -> dict[str, float]:
    """Each part as a share of all."""
    whole = sum(milliseconds.values())
    return {name: round(part / whole, 3) for name, part in milliseconds.items()}


def kind_of(operation: str) -> str | None:
    """Which of KINDS an operation of torch's profiler is; None for what is none of its own."""
    kinds = (kind for kind, begins in KINDS.items() if operation.startswith(tuple(begins)))
    return next(kinds, None)


def _sft(model: Path) -> dict[str, Any]:
    import torch
    from acereason_trainer.__main__ import configure_torch
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.config.sft import Optimizer
    from acereason_trainer.policy.protocol import Batch
    from acereason_trainer.policy.torch_policy import TorchPolicy
    from torch.profiler import ProfilerActivity, profile

    configure_torch()
    policy = TorchPolicy(
        model,
        loading=ModelLoading(dtype="float32"),
        optimizer=Optimizer(learning_rate=1e-4),
        total_steps=None,
        tokens_per_micro_batch=TOKENS,
    )
    draw = random.Random("profile")

    def a_batch() -> Batch:
        lengths: list[int] = []
        while sum(lengths) < TOKENS - 480:
            lengths.append(PROMPT + min(max(int(draw.lognormvariate(4.8, 0.7)), 16), 440))
        return Batch(
            [[draw.randrange(5, 90) for _ in range(n)] for n in lengths],
            [PROMPT] * len(lengths),
            [torch.full((n - PROMPT,), 1 / sum(lengths)) for n in lengths],
        )

    for _ in range(2):
        policy.step(a_batch())
    batches = [a_batch() for _ in range(STEPS)]
    parts: dict[str, float] = defaultdict(float)
    timed(TorchPolicy, "_descend", OPTIMIZER, parts)
    began = time.perf_counter()
    for batch in batches:
        policy.step(batch)
    whole = time.perf_counter() - began
    TorchPolicy._descend = lambda self, _: self._optimizer.zero_grad() or 0.0  # type: ignore[method-assign]
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for batch in batches:
            policy.step(batch)
    for operation in seen.key_averages():
        if kind := kind_of(operation.key):
            parts[kind] += operation.self_cpu_time_total / 1e6
    told = {name: 1000 * part / STEPS for name, part in parts.items()}
    milliseconds = 1000 * whole / STEPS
    told[REST] = max(0.0, milliseconds - sum(told.values()))
    return {"millisecondsPerStep": round(milliseconds, 1), "shares": shares_of(told)}


def _vllm(model: Path) -> dict[str, Any]:
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.policy.loading import load_model
    from acereason_trainer.rollout.engine_messages import Asked, EngineSettings
    from acereason_trainer.rollout.vllm_engine import Engine
    from acereason_trainer.rollout.weight_buckets import BUCKET, SharedMemory, in_buckets
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    parts: dict[str, float] = defaultdict(float)
    timed(Scheduler, "schedule", "scheduling", parts)
    timed(Scheduler, "update_from_output", "scheduling", parts)
    timed(GPUModelRunner, "_model_forward", "the model", parts)
    timed(GPUModelRunner, "_sample", "choosing tokens", parts)
    engine = Engine()
    engine.start(
        EngineSettings(
            model=str(model), overrides={}, dtype="float32", tokens=TOKENS // 8, stop_tokens=(),
            sequences=RESPONSES, tensor_parallel=1, memory_share=0.7, cache_bytes=2**30,
        )
    )  # fmt: skip
    memory = SharedMemory.made(BUCKET)
    engine.attach(memory.path, memory.size)
    engine.begin_push()
    loaded = load_model(model, ModelLoading(dtype="float32"))
    for pieces in in_buckets(((n, p.detach()) for n, p in loaded.named_parameters()), memory):
        engine.take_bucket(pieces)
    engine.end_push()
    for seed in range(2):
        parts.clear()
        engine.add(
            [
                Asked(n, tuple(range(5, 5 + PROMPT)), seed * RESPONSES + n, 1.0, 1.0, RESPONSE)
                for n in range(RESPONSES)
            ]
        )
        began, steps = time.perf_counter(), 0
        while engine.draws:
            engine.step()
            steps += 1
        seconds = time.perf_counter() - began
    told = {name: 1000 * part / steps for name, part in parts.items()}
    told["the rest of vLLM"] = 1000 * seconds / steps - sum(told.values())
    return {
        "responses": RESPONSES,
        "steps": steps,
        "millisecondsPerStep": round(1000 * seconds / steps, 2),
        "shares": shares_of(told),
    }


def timed(owner: type, method: str, name: str, parts: dict[str, float]) -> None:
    """Have the seconds of a method added to a part."""
    plain: Callable[..., Any] = getattr(owner, method)

    def measured(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*given, **named)
        finally:
            parts[name] += time.perf_counter() - began

    setattr(owner, method, measured)


if __name__ == "__main__":
    print(json.dumps({"sft": _sft, "vllm": _vllm}[sys.argv[1]](Path(sys.argv[2]))))
