"""What it costs to hand trained weights to vLLM, against copying as many bytes in memory.

A stage of SmolLM2-135M with next to nothing to draw; what counts is its own `push_seconds`. A push
sums the weights, copies them bucket by bucket into shared memory, has vLLM load them, and holds its
logprobs of a probe against the trainer's: all of it is timed, but for the first, which is every
engine's slowest.

`python -m benchmarks.trainer_push PARTS STAGE_FILE` is the stage's process: the stage as it is,
with clocks in the methods that a push is made of.
"""

import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import quartiles
from benchmarks.stage_curves import curves_of
from benchmarks.stage_files import carried_out
from benchmarks.trainer_models import BUILD, REAL, Subject
from benchmarks.trainer_profile import require_time, shares_of, timed, with_rest

STORE = BUILD / "push"
PARTS = BUILD / "push-parts.json"
NO_VLLM = "vLLM is not installed"
WARM_UP = 1
COPIES = 5
TIMED = (
    *("sum_of", "_send_weights", "logprobs"),
    *("begin_push", "take_bucket", "end_push", "score", "sleep"),
)
"""Methods, the last five of the engine's process: the trainer waits as long as they take."""
Seconds = Mapping[str, float]
"""By method."""


def push_section(pushes: int) -> dict[str, Any]:
    """So many pushes of SmolLM2-135M's weights in float32."""
    if find_spec("vllm") is None:
        print(f"  {NO_VLLM}: nothing is measured", flush=True)
        return {"notMeasured": NO_VLLM}
    shutil.rmtree(STORE, ignore_errors=True)
    settings = {"mathRL": _settings(pushes + WARM_UP)}
    try:
        program = ("benchmarks.trainer_push", str(PARTS))
        rows = curves_of(settings, "push", REAL.base(), REAL.data / "rl-math.jsonl", STORE, program)
        begun = json.loads(PARTS.read_text())
    finally:
        shutil.rmtree(STORE, ignore_errors=True)
        PARTS.unlink(missing_ok=True)
    size = weight_bytes(REAL)
    copies = [_copy_seconds(size) for _ in range(COPIES)]
    return figures_of(size, rows[WARM_UP:], copies, begun[WARM_UP:])


def figures_of(
    size: int,
    rows: Sequence[Mapping[str, Any]],
    copies: Sequence[float],
    begun: Sequence[Seconds],
) -> dict[str, Any]:
    """MB/s, and where the time goes. size: bytes of the weights. rows: of the stage's steps.
    copies: seconds of each. begun: what methods had taken when each step's push began, and when
    the next one did."""
    seconds = [float(row["push_seconds"]) for row in rows]
    if len(begun) != len(rows) + 1:
        raise RuntimeError(f"{len(begun)} pushes around {len(rows)} steps")
    taken = {name: begun[-1].get(name, 0.0) - begun[0].get(name, 0.0) for name in TIMED}
    return {
        "model": REAL.name,
        "megabytes": round(size / 1e6, 1),
        "pushes": len(seconds),
        "seconds": quartiles(seconds),
        "megabytesPerSecond": {
            "push": quartiles([size / 1e6 / s for s in seconds], 1),
            "copy": quartiles([size / 1e6 / s for s in copies], 1),
        },
        "shares": shares_of(parts_of(taken, sum(seconds))),
    }


def parts_of(taken: Seconds, whole: float) -> dict[str, float]:
    """Seconds of what a push is made of. Raises RuntimeError where a method took none, or more than
    what it is a part of."""
    require_time(taken, TIMED)
    in_sending = {"the sum": taken["sum_of"], "vLLM's loading": taken["take_bucket"]}
    parts = with_rest(in_sending, in_sending, taken["_send_weights"], "copies into shared memory")
    parts["vLLM's loading"] += taken["begin_push"] + taken["end_push"]
    parts["the probe, vLLM's"] = taken["score"]
    parts["the probe, the trainer's"] = taken["logprobs"]
    parts["vLLM's sleep"] = taken["sleep"]
    return with_rest(parts, parts, whole, "the rest")


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


def watched() -> list[Seconds]:
    """Has every push of this process timed; what comes back grows by what TIMED had taken when a
    push began."""
    from acereason_trainer.policy import identity
    from acereason_trainer.policy.torch_policy import TorchPolicy
    from acereason_trainer.rollout.engine_client import EngineClient
    from acereason_trainer.rollout.vllm_sampler import VLLMSampler

    taken: dict[str, float] = defaultdict(float)
    begun: list[Seconds] = []
    timed(identity, "sum_of", "sum_of", taken)
    timed(VLLMSampler, "_send_weights", "_send_weights", taken)
    timed(TorchPolicy, "logprobs", "logprobs", taken)
    timed(EngineClient, "call", lambda engine, method, *_, **__: method, taken)
    push = VLLMSampler.push

    def noted(self: VLLMSampler, policy: Any, version: int) -> None:
        begun.append(dict(taken))
        push(self, policy, version)

    VLLMSampler.push = noted  # type: ignore[method-assign]
    return begun


def main() -> None:
    """The stage, and a file with what its pushes were made of."""
    from acereason_trainer.config.read_stage_file import read_stage_file

    begun = watched()
    carried_out(read_stage_file(Path(sys.argv[2])))
    Path(sys.argv[1]).write_text(json.dumps(begun))


if __name__ == "__main__":
    main()
