"""The effects: what the papers say, the arms that show it here, and what is compared.

All arms are the quickstart's model and data, from its SFT checkpoint, with its second math stage's
settings where nothing else is said. Small models are not 7B models: an effect that shows itself
here says that the trainer does what the paper's did, one that doesn't may be the scale's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.effects_arms import BUILD, Arm
from benchmarks.quickstart import FILE
from benchmarks.runs import acereason_run, artifact, stages
from benchmarks.stage_files import stage_file
from benchmarks.trainer_models import stage_settings, trained_once

DATA = Path("examples/quickstart/data")
STEPS = 20
"""RL steps of an arm: as many as the quickstart's stages have."""
HARD_OF, HARD_MOST = 8, 3
"""Attempts at a prompt, and the most that may be right for it to stay: the papers' 6 of 16."""
UPDATES = 4
"""Optimizer steps for a batch, where there are several."""
POOL = 1500
"""Prompts that are attempted."""


@dataclass(frozen=True)
class Comparison:
    """One figure of two arms: B less A."""

    a: str
    b: str
    metric: str
    """A curve, of which the last steps are taken; or `accuracy`."""
    expected: Literal["lower", "higher", None]
    """B's, by the papers; None where they print no comparison."""


@dataclass(frozen=True)
class Effect:
    """One statement of the papers, small."""

    name: str
    title: str
    claim: str
    curve: str
    """The metric that its plot shows over the steps."""
    arms: Mapping[str, Mapping[str, Any]]
    """What each changes in the settings; `updates` and `data` are ours, not settings."""
    comparisons: tuple[Comparison, ...]
    note: str = ""
    """What whoever reads the comparisons should know."""


def effects() -> dict[str, Effect]:
    """By name."""
    return {
        e.name: e
        for e in (
            Effect(
                name="updates",
                title="Several updates for each batch of rollouts",
                claim="AceReason 1.0 section 3.2.2: 2 or 4 gradient updates after a generation "
                "make the entropy collapse in about 100 steps; one does not.",
                curve="entropy",
                # A rate at which four updates still leave a policy.
                arms={
                    "one": {"optimizer": {"learningRate": 2.0e-4}, "temperature": {"fixed": 1.0}},
                    "four": {
                        "optimizer": {"learningRate": 2.0e-4},
                        "temperature": {"fixed": 1.0},
                        "updates": UPDATES,
                    },
                    "one for longer": {
                        "optimizer": {"learningRate": 2.0e-4},
                        "temperature": {"fixed": 1.0},
                        "stop": {"steps": UPDATES * STEPS},
                    },
                },
                comparisons=(
                    Comparison("one", "four", "entropy", "lower"),
                    Comparison("one for longer", "four", "entropy", "lower"),
                ),
                note="`one for longer` takes as many optimizer steps as `four`, one for each of "
                "more batches: an entropy that is lower than its is not a mere number of steps.",
            ),
            Effect(
                name="normalizer",
                title="The two denominators of the loss",
                claim="AceReason 1.0 equation 3 divides by the tokens of each group; DAPO by those "
                "of the whole batch. The papers print no comparison.",
                curve="reward",
                arms={
                    "group": {"loss": {"normalizer": "group"}},
                    "batch": {"loss": {"normalizer": "batch"}},
                },
                comparisons=(
                    Comparison("group", "batch", "accuracy", None),
                    Comparison("group", "batch", "response_tokens", None),
                ),
            ),
            Effect(
                name="temperature",
                title="A temperature chosen by entropy",
                claim="AceReason 1.1 section 4.2: the temperature that brings the entropy near 0.3 "
                "ends higher than a lower and than a higher one.",
                curve="entropy",
                arms={
                    "too low": {"temperature": {"fixed": 0.3}},
                    "by entropy": {"temperature": {"targetEntropy": TARGET}},
                    "too high": {"temperature": {"fixed": 1.6}},
                },
                comparisons=(
                    Comparison("too low", "by entropy", "accuracy", "higher"),
                    Comparison("too high", "by entropy", "accuracy", "higher"),
                ),
            ),
            Effect(
                name="hard",
                title="Hard prompts alone",
                claim="AceReason 1.0 table 3: once most prompts are solved, training on those with "
                "at most 6 of 16 right attempts ends higher than training on all.",
                curve="no_signal_share",
                arms={"all": {"data": "all"}, "hard": {"data": "hard"}},
                comparisons=(
                    Comparison("all", "hard", "accuracy", "higher"),
                    Comparison("all", "hard", "no_signal_share", "lower"),
                ),
                note="That hard prompts leave fewer groups without a signal is nearly so by "
                "construction: those that are always solved were taken out.",
            ),
            Effect(
                name="overlong",
                title="Cut answers: masked or penalised",
                claim="AceReason 1.1 section 4.3: in the stage with the shortest length, where "
                "three answers in ten are cut, masking them is clearly better than penalising "
                "them.",
                curve="truncated_share",
                arms={
                    "penalize": {"overlong": {"mode": "penalize"}, "maxResponseTokens": SHORT},
                    "mask": {"overlong": {"mode": "mask"}, "maxResponseTokens": SHORT},
                },
                comparisons=(
                    Comparison("penalize", "mask", "accuracy", "higher"),
                    Comparison("penalize", "mask", "response_tokens", "higher"),
                ),
            ),
        )
    }


TARGET = {
    "entropy": 0.3,
    "candidates": [0.6, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4],
    "prompts": 64,
    "samples": 4,
    "maxRewardLoss": 0.1,
}
"""A tiny model is sure of itself: temperatures beyond the papers' are needed for their entropy."""
SHORT = 36
"""Tokens: answers are 12, 18, 29, 40 or 51 tokens long, and those of the last two are cut. How many
that are stands on the page, beside the papers' three in ten."""


def sft_checkpoint() -> Path:
    """The quickstart's, made by its own run up to there, once."""
    if not DATA.exists():
        raise SystemExit("the quickstart's data is not there; make it: make quickstart")
    store = BUILD / "quickstart"
    print("the quickstart up to its SFT, once ...", flush=True)
    acereason_run(FILE, store, "--until", "sft", log=BUILD / "quickstart.log")
    return artifact(store, stages(store, "quickstart")["sft"])


def common_settings() -> dict[str, Any]:
    """What all arms have otherwise than the quickstart's second math stage."""
    theirs = stage_settings(FILE, "math-2")["mathRL"]
    own = {name: value for name, value in _settings().items() if name != "saving"}
    return {name: value for name, value in own.items() if theirs.get(name) != value}


def arms_of(effect: Effect, start: Path) -> dict[str, Arm]:
    """The effect's arms. start: the SFT checkpoint."""
    model, sets = _later(start) if effect.name == "hard" else (start, {})
    arms = {}
    for name, changes in effect.arms.items():
        own = dict(changes)
        updates, data = own.pop("updates", 1), sets.get(own.pop("data", ""))
        arms[name] = Arm(
            effect=effect.name,
            name=name.replace(" ", "-"),
            settings={**_settings(), **own},
            model=model,
            data=data or DATA / "rl-math.jsonl",
            evaluation=DATA / "eval",
            updates=updates,
        )
    return arms


def _settings() -> dict[str, Any]:
    """The quickstart's second math stage, over all its problems."""
    return {
        **stage_settings(FILE, "math-2")["mathRL"],
        "mix": [],
        "overlong": {"mode": "penalize"},
        "stop": {"steps": STEPS},
        "saving": {"minutesAtRisk": 600},
    }


def _later(start: Path) -> tuple[Path, dict[str, Path]]:
    """A checkpoint that solves many prompts, and the pool of prompts, all of it and its hard part.

    As in the papers: some RL first, then every prompt is attempted by what came of it.
    """
    store = BUILD / "store"
    settings = {"mathRL": {**_settings(), "stop": {"steps": 10}}}
    rows = DATA / "rl-math.jsonl"
    later = trained_once(stage_file(store, settings, name="before-hard", model=start, data=rows))
    pool = BUILD / "pool.jsonl"
    lines = rows.read_text().splitlines()[:POOL]
    pool.write_text("\n".join(lines) + "\n")
    filtered = {
        "curate": {
            "passRate": {
                "samples": HARD_OF,
                "maxCorrect": HARD_MOST,
                "maxResponseTokens": 112,
                "promptsPerBatch": 64,
                "loading": {"dtype": "float32"},
                "verifier": {"workers": 1},
            },
            "decontamination": None,
        }
    }
    hard = trained_once(stage_file(store, filtered, name="hard-prompts", model=later, data=pool))
    kept = sum(1 for file in hard.glob("*.jsonl") for _ in file.open())
    print(f"  {kept} of {POOL} prompts are hard: {json.dumps(filtered['curate']['passRate'])}")
    return later, {"all": pool, "hard": hard}
