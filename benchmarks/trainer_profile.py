"""Where the time of our two slowest steps goes on a CPU: SFT's, and vLLM's drawing.

`python -m benchmarks.trainer_profile sft MODEL` and `... vllm MODEL` are the processes that
`profile_section` starts: each sees the product's own policy or engine from within. Whole steps are
timed without a profiler, and the optimizer within them. What is left of them are the forward and
backward passes. Torch's profiler says what those are made of, and slows them: so it is asked for
shares of the passes that it has watched, where the rest is what no operation of torch's accounts
for, and of nothing else. How much it slowed them stands in the result; the rest bears most of that.
Of vLLM's step the parts are timed that its engine takes one by one.

Parts are found by the names of methods. One that took no time, or parts that are more than the
whole, end the profile: a name then is not what it was.
"""

import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
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
OPTIMIZER, MODEL = "the optimizer", "the model"
REST, REST_OF_VLLM = "Python and autograd", "the rest of vLLM"
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


def shares_of(seconds: Mapping[str, float]) -> dict[str, float]:
    """Each part as a share of all."""
    whole = sum(seconds.values())
    return {name: round(part / whole, 3) for name, part in seconds.items()}


def with_rest(
    parts: Mapping[str, float], names: Collection[str], whole: float, rest: str
) -> dict[str, float]:
    """The parts and what of the whole is none of them. Raises RuntimeError where a part of these
    names took no time, or all of them take more than the whole."""
    require_time(parts, names)
    left = whole - sum(parts.values())
    if left < 0:
        raise RuntimeError(f"the parts take {-left:.3g} s more than the whole of {whole:.3g} s")
    return {**parts, rest: left}


def require_time(parts: Mapping[str, float], names: Collection[str]) -> None:
    """Raises RuntimeError where a part of these names took none."""
    silent = [name for name in names if not parts.get(name, 0.0) > 0]
    if silent:
        raise RuntimeError(f"{', '.join(silent)}: took no time; is the method still called so?")


def kind_of(operation: str) -> str | None:
    """Which of KINDS an operation of torch's profiler is; None for what is none of its own."""
    kinds = (kind for kind, begins in KINDS.items() if operation.startswith(tuple(begins)))
    return next(kinds, None)


def sft_profile(model: Path, steps: int = STEPS) -> dict[str, Any]:
    """Of the policy's step on packed documents."""
    import torch
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.config.sft import Optimizer
    from acereason_trainer.policy.protocol import Batch
    from acereason_trainer.policy.torch_policy import TorchPolicy
    from torch.profiler import ProfilerActivity, profile

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

    batches = [a_batch() for _ in range(steps)]

    def seconds_of_steps() -> float:
        began = time.perf_counter()
        for batch in batches:
            policy.step(batch)
        return time.perf_counter() - began

    for _ in range(2):
        policy.step(a_batch())
    descent: dict[str, float] = defaultdict(float)
    timed(policy, "_descend", OPTIMIZER, descent)
    whole = seconds_of_steps()
    passes = with_rest(descent, [OPTIMIZER], whole, "passes")["passes"]
    policy._descend = lambda rate: policy._optimizer.zero_grad() or 0.0  # type: ignore[method-assign]
    kinds: dict[str, float] = defaultdict(float)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        watched = seconds_of_steps()
    for operation in seen.key_averages():
        if kind := kind_of(operation.key):
            kinds[kind] += operation.self_cpu_time_total / 1e6
    of_passes = shares_of(with_rest(kinds, KINDS, watched, REST))
    return {
        "millisecondsPerStep": round(1000 * whole / steps, 1),
        "slowedByProfiler": round(watched / passes, 3),
        "shares": shares_of({**descent, **{k: passes * s for k, s in of_passes.items()}}),
    }


def vllm_profile(model: Path) -> dict[str, Any]:
    """Of drawing, one step of the engine for one token of each response."""
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.policy.loading import load_model
    from acereason_trainer.rollout.engine_messages import Asked, EngineSettings
    from acereason_trainer.rollout.vllm_engine import Engine
    from acereason_trainer.rollout.weight_buckets import BUCKET, SharedMemory, in_buckets
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    parts: dict[str, float] = defaultdict(float)
    hooks: Sequence[tuple[type, str, str]] = (
        (Scheduler, "schedule", "scheduling"),
        (Scheduler, "update_from_output", "taking in tokens"),
        (GPUModelRunner, "_model_forward", MODEL),
        (GPUModelRunner, "_sample", "choosing tokens"),
    )
    for owner, method, name in hooks:
        timed(owner, method, name, parts)
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
    told = with_rest(parts, [name for *_, name in hooks], seconds, REST_OF_VLLM)
    return {
        "responses": RESPONSES,
        "steps": steps,
        "millisecondsPerStep": round(1000 * seconds / steps, 2),
        "shares": shares_of(told),
    }


def timed(
    owner: object, method: str, name: str | Callable[..., str], parts: dict[str, float]
) -> None:
    """Have the seconds of a method, of a class or of one object, added to a part. name: where one
    method stands for several parts, what tells of its arguments which one it is."""
    plain: Callable[..., Any] = getattr(owner, method)

    def measured(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*given, **named)
        finally:
            part = name if isinstance(name, str) else name(*given, **named)
            parts[part] += time.perf_counter() - began

    setattr(owner, method, measured)


if __name__ == "__main__":
    from acereason_trainer.__main__ import configure_torch

    what, model = sys.argv[1], Path(sys.argv[2])
    if what == "sft":
        configure_torch()  # as a stage does; an engine has vLLM's own settings
    print(json.dumps({"sft": sft_profile, "vllm": vllm_profile}[what](model)))
