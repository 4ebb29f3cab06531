"""Sees that a stage is being destroyed, so that it goes on from before the damage, or is told of.

Each detector looks at the mean of a window of steps; two look at single steps and are always on:
numbers that are none, and a sampler that is not the model that is trained. What they find is named
in the log, in the step's metrics and, where it ends the attempt, in its result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import RL, Detector, HealthStop
from acereason_trainer.policy.health import NOT_A_NUMBER, not_a_number
from acereason_trainer.policy.protocol import Update
from acereason_trainer.rl.curriculum import Curriculum
from acereason_trainer.stage import StageFailure
from acereason_trainer.telemetry.log_line import say

ROUNDING_KL = {"float32": 1e-3, "bfloat16": 0.006}
"""Mismatch KL of one step, in nats, up to which rounding of this format may be the reason. Engines
with the same weights differ by less than 1e-6, and by 1e-4 to 2e-3; a temperature of 0.95 that one
side leaves out makes 0.003 to 0.01, one of 0.85 0.03 to 0.09 (docs/health.md)."""
ROUNDING_SHARE = 0.01
"""Share of tokens that rounding of bfloat16 may move by more than a quarter. A mean of the KL alone
can hang on one token that the sampler held for very unlikely; a share cannot."""
SURE = 3.0
"""Standard errors by which the share must be above that: how far few tokens may mislead."""


@dataclass(frozen=True)
class Alarm:
    """What one detector found."""

    detector: Literal["number"] | Detector
    reason: str
    """CamelCase word of the result record."""
    message: str
    """What was seen, and what to do."""
    stops: bool = True
    code: ExitCode = ExitCode.HEALTH_STOP
    """How the attempt ends by it."""


def alarms_of(state: Curriculum, update: Update, stage: RL) -> list[Alarm]:
    """What the detectors say of the step that led to this state, those that end it first."""
    step = state.step
    found: list[Alarm] = []
    if (sentence := not_a_number(update, step)) is not None:
        found.append(Alarm("number", NOT_A_NUMBER, sentence))
    else:
        found += _other_model(update, step, stage)
    if stage.health is not None:
        found += _collapse(state, stage.health)
        found += _out_of_bounds(state, stage.health)
    return sorted(found, key=lambda alarm: not alarm.stops)


def as_metrics(alarms: Sequence[Alarm], stage: RL) -> dict[str, float]:
    """`alarm_<detector>` for each detector that looks: 1 where it found something."""
    looks: dict[str, object] = {"number": True, "mismatch": True}
    if stage.health is not None:
        looks |= {
            "reward": True,
            "entropy": stage.health.entropy,
            "truncation": stage.health.max_truncated_share,
        }
    raised = {alarm.detector for alarm in alarms}
    return {f"alarm_{name}": float(name in raised) for name, on in looks.items() if on is not None}


def end_if_unhealthy(alarms: Sequence[Alarm]) -> None:
    """Say what was found; raise a health stop where something of it is to end the attempt."""
    for alarm in alarms:
        if alarm.stops:
            raise StageFailure(alarm.code, alarm.reason, alarm.message)
        say(f"{alarm.reason}: {alarm.message}; goes on, as health.goOn says")


def _other_model(update: Update, step: int, stage: RL) -> list[Alarm]:
    """The invariant of strictly on-policy training, on p_trainer / p_sampler as measured: 1 up to
    rounding. Whoever weighs tokens by that ratio has given it up. What is so from the first step on
    is a set-up that another attempt would not mend."""
    dtype = stage.loading.dtype
    if stage.loss.importance_cap is not None or not is_other_model(update, dtype):
        return []
    return [
        Alarm(
            "mismatch",
            "SamplerMismatch",
            f"step {step} was trained on responses that the sampler drew from another model: "
            f"mismatch KL {update.mismatch_kl:.3g} nats, and rounding of {dtype} explains "
            f"{ROUNDING_KL[dtype]:g}; {update.mismatch_share:.1%} of {update.tokens:,} tokens "
            "differ by more than a quarter. Try sampler: transformers, or loading.dtype: float32; "
            "loss.importanceCap trains with such an engine all the same",
            code=ExitCode.BAD_CONFIGURATION if step == 1 else ExitCode.HEALTH_STOP,
        )
    ]


def is_other_model(update: Update, dtype: str) -> bool:
    """Whether trainer and sampler differ by more than rounding of this format explains: in the mean
    over tokens, and, surely enough for so few of them, in the share that is far off."""
    if update.mismatch_kl <= ROUNDING_KL[dtype]:
        return False
    if dtype == "float32":  # its rounding moves no token far, so the mean hangs on none
        return True
    return at_least(update.mismatch_share, update.tokens) > ROUNDING_SHARE


def at_least(share: float, tokens: int) -> float:
    """Lower bound of a share that was measured on so many tokens (Wilson's, which holds for few
    tokens and for small shares too)."""
    z = SURE**2 / max(tokens, 1)
    spread = math.sqrt(z * (share * (1 - share) + z / 4))
    return (share + z / 2 - spread) / (1 + z)


def _collapse(state: Curriculum, settings: HealthStop) -> list[Alarm]:
    """The mean reward of the last window fell too far below the best one, on the same prompts."""
    window, rewards = settings.window, state.comparable_rewards(settings.window)
    if len(rewards) < 2 * window:
        return []
    best = max(fmean(rewards[i : i + window]) for i in range(len(rewards) - 2 * window + 1))
    now = fmean(rewards[-window:])
    if now >= best * (1 - settings.max_reward_drop):
        return []
    return [
        Alarm(
            "reward",
            "RewardCollapse",
            f"mean reward of the last {window} steps fell to {now:.3f} from {best:.3f} at step "
            f"{state.step}; if it happens again, lower optimizer.learningRate",
            stops="reward" not in settings.go_on,
        )
    ]


def _out_of_bounds(state: Curriculum, settings: HealthStop) -> list[Alarm]:
    """Means over a full window against limits that are set."""
    window, band = state.vitals, settings.entropy
    if len(window) < settings.window:
        return []
    over = f"of the last {settings.window} steps, at step {state.step}"
    mismatch = fmean([v.mismatch_kl for v in window], weights=[max(v.tokens, 1) for v in window])
    entropy = fmean(v.entropy for v in window)
    truncated = fmean(v.truncated_share for v in window)
    found = []
    if settings.max_mismatch_kl is not None and mismatch > settings.max_mismatch_kl:
        found.append(
            Alarm(
                "mismatch",
                "SamplerMismatch",
                f"mean mismatch KL {over}, is {mismatch:.3g} nats, above health.maxMismatchKl "
                f"{settings.max_mismatch_kl:g}; try loading.dtype: float32, or loss.importanceCap",
                stops="mismatch" not in settings.go_on,
            )
        )
    if band is not None and not band.min <= entropy <= band.max:
        found.append(
            Alarm(
                "entropy",
                "EntropyOutOfBand",
                f"mean entropy {over}, is {entropy:.3f} nats, outside of health.entropy "
                f"({band.min:g} to {band.max:g}); choose another temperature",
                stops="entropy" not in settings.go_on,
            )
        )
    if settings.max_truncated_share is not None and truncated > settings.max_truncated_share:
        found.append(
            Alarm(
                "truncation",
                "TooManyTruncated",
                f"{truncated:.1%} of the responses {over}, hit the length limit, above "
                f"health.maxTruncatedShare {settings.max_truncated_share:g}; raise "
                "maxResponseTokens, or train on easier problems first",
                stops="truncation" not in settings.go_on,
            )
        )
    return found
