"""One arm of an effect with one seed: an RL stage, then an evaluation, in one thread.

Both are the product's own stages. The arms of an effect share their names of draws, so that a seed
gives all of them the same prompts in the same order, and the same first responses.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from acereason_trainer.evaluation.results import read_results
from acereason_trainer.telemetry.recorder import read_metrics

from benchmarks.code_identity import code_identity

HERE = Path("benchmarks")
CODE = code_identity(
    *(HERE / f"{name}.py" for name in ("effects_arms", "effects_list", "effects_updates")),
    *(HERE / f"{name}.py" for name in ("scored", "stage_files", "trainer_models")),
)
"""Of all that decides what an arm comes to: what other code has found is not taken for this one's.
"""
BUILD = Path("build/bench/effects") / CODE
EVALUATION = {
    "evaluate": {
        "sets": [{"name": "math", "file": "math.jsonl", "samples": 4}],
        "maxResponseTokens": 112,
        "sampling": {"temperature": 0.6, "topP": 0.95},
        "loading": {"dtype": "float32"},
        "verifier": {"workers": 1},
        "sequencesPerBatch": 256,
    }
}
"""As in the quickstart: avg@4 over its held-out problems."""
CURVES = ("entropy", "reward", "response_tokens", "truncated_share", "no_signal_share")
END = 5
"""Steps at the end that an arm's last values are the means of."""


@dataclass(frozen=True)
class Arm:
    """What one arm trains, from where, on what."""

    effect: str
    name: str
    settings: Mapping[str, Any]
    """Of the `mathRL` stage."""
    model: Path
    data: Path
    evaluation: Path
    updates: int = 1
    """Optimizer steps for each batch of rollouts."""


@dataclass(frozen=True)
class Outcome:
    """What came out of an arm with one seed."""

    curves: Mapping[str, Sequence[float]]
    """One value for each step, by metric."""
    accuracy: float
    """On the held-out problems, in percent."""
    temperature: float
    """That was drawn at."""

    def end(self, metric: str) -> float:
        """Mean over the last steps; `accuracy` is the evaluation's."""
        if metric == "accuracy":
            return self.accuracy
        return fmean(self.curves[metric][-END:])


def outcome(arm: Arm, seed: int) -> Outcome:
    """Carry an arm out, unless an earlier start of the same code has; in a process that may be used
    again."""
    store = BUILD / "arms" / f"{arm.effect}-{arm.name}-{_digest(arm)}"
    kept = store / f"outcome-{seed}.json"
    if not kept.exists():
        store.mkdir(parents=True, exist_ok=True)
        with (store / f"log-{seed}.txt").open("w") as log, _said_to(log):
            found = _carried_out(arm, seed, store / f"seed-{seed}")
        begun = kept.with_suffix(".begun")
        begun.write_text(json.dumps(found))
        begun.replace(kept)
    return Outcome(**json.loads(kept.read_text()))


def _carried_out(arm: Arm, seed: int, store: Path) -> dict[str, Any]:
    from benchmarks.effects_updates import several_updates
    from benchmarks.stage_files import carried_out, stage_file

    # Of what a cut start has left here, nobody counted the optimizer steps.
    shutil.rmtree(store, ignore_errors=True)
    training = stage_file(
        store,
        {"mathRL": dict(arm.settings)},
        name=f"rl-{seed}",
        model=arm.model,
        data=arm.data,
        seed=seed,
        key=f"mathRL-{hashlib.sha256(f'{arm.effect} {seed}'.encode()).hexdigest()[:32]}",
    )
    with several_updates(arm.updates):
        trained = carried_out(training)
    measured = stage_file(
        store, EVALUATION, name=f"eval-{seed}", model=trained, data=arm.evaluation
    )
    result = read_results(carried_out(measured)).set_named("math")
    rows = read_metrics(trained / "metrics.jsonl")
    return {
        "curves": {name: [number_of(row, name) for row in rows] for name in CURVES},
        "accuracy": 100 * result.accuracy,
        "temperature": number_of(rows[-1], "temperature"),
    }


def number_of(row: Mapping[str, float | None], metric: str) -> float:
    """Of a step. Raises RuntimeError for null, which stands for NaN: no curve goes on from that."""
    value = row[metric]
    if value is None:
        raise RuntimeError(f"step {row['step']}: {metric} is no number")
    return float(value)


def _digest(arm: Arm) -> str:
    """Of all that an arm is: a changed one is carried out anew."""
    told = [dict(arm.settings), arm.updates, str(arm.model), str(arm.data)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


@contextlib.contextmanager
def _said_to(log: Any) -> Any:
    """What stages print goes into the arm's own log."""
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
