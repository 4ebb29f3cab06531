"""Ends a stage that is being destroyed, so that it goes on from before the damage."""

from collections.abc import Sequence
from statistics import fmean

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import HealthStop
from acereason_trainer.stage import StageFailure


def check_rewards(rewards: Sequence[float], settings: HealthStop | None) -> None:
    """Raise a health stop when the mean reward of the last window fell too far below the best."""
    if settings is None or len(rewards) < 2 * settings.window:
        return
    window = settings.window
    best = max(fmean(rewards[i : i + window]) for i in range(len(rewards) - 2 * window + 1))
    now = fmean(rewards[-window:])
    if now < best * (1 - settings.max_reward_drop):
        raise StageFailure(
            ExitCode.HEALTH_STOP,
            "RewardCollapse",
            f"mean reward of the last {window} steps fell to {now:.3f} from {best:.3f} at step "
            f"{len(rewards)}; if it happens again, lower optimizer.learningRate",
        )
