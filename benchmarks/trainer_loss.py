"""Peak memory of the loss at a vocabulary of 150K: ours, TRL's, and plain torch.

`python -m benchmarks.trainer_loss ROWS TOKENS VOCABULARY` is our arm; `loss_section` starts all.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.peers.environments import HERE, environment
from benchmarks.progress import Steps
from benchmarks.trainer_models import environment as contestants_environment

VOCABULARY = 151_936
"""Qwen2.5's."""
ARMS: dict[str, Callable[[], list[str]]] = {
    "ours": lambda: [sys.executable, "-m", "benchmarks.trainer_loss"],
    "TRL": lambda: [str(environment("trl")), str(HERE / "loss_trl.py")],
    "plain torch": lambda: [sys.executable, str(HERE / "loss_torch.py")],
}


def loss_section(rows: int, width: int, rounds: int) -> dict[str, Any]:
    """Each arm in processes of its own, in turns; rows of `width` tokens."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    steps = Steps("processes", rounds * len(ARMS))
    for _ in range(rounds):
        for arm, command in ARMS.items():
            found[arm].append(_one([*command(), str(rows), str(width), str(VOCABULARY)]))
            steps.done()
    return {
        "tokens": rows * width,
        "rounds": rounds,
        "vocabulary": VOCABULARY,
        "peakMib": {arm: median(f["peakMib"] for f in runs) for arm, runs in found.items()},
        "seconds": {arm: median(f["seconds"] for f in runs) for arm, runs in found.items()},
        "loss": {arm: round(runs[0]["loss"], 6) for arm, runs in found.items()},
    }


def _one(command: list[str]) -> dict[str, float]:
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=contestants_environment(), text=True
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _ours() -> None:
    """Our arm: one micro-batch of a step."""
    import torch
    from acereason_trainer.policy.forward import Scoring
    from acereason_trainer.policy.micro_batches import micro_batches
    from acereason_trainer.policy.protocol import Batch

    from benchmarks.peers.peak import measured

    def log_probs_of(model: Any) -> Any:
        scoring = Scoring(model, recompute=False)

        def log_probs(tokens: torch.Tensor) -> torch.Tensor:
            rows, width = tokens.shape
            batch = Batch(tokens.tolist(), [1] * rows, [torch.ones(width - 1)] * rows)
            (part,) = micro_batches(batch, tokens.numel(), tokens.device)
            found: torch.Tensor = scoring(*part.inputs, batch.temperature)[0]
            return found

        return log_probs

    measured(log_probs_of)


if __name__ == "__main__":
    _ours()
