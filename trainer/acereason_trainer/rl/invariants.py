"""What must hold of every step, whatever the settings: looked at while the stage runs.

The papers' algorithm says these of itself (1.0 sections 3.1 to 3.3). That KL and entropy bonus are
0 and that a batch is used once is so by construction; that sampler and trainer are one model is
measured (health.py). A broken one is a fault of ours or of the machine, never of the data.
"""

from torch import Tensor

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import RL
from acereason_trainer.rewards.extract import THINK_END
from acereason_trainer.rl.rollouts import Rollout, Rollouts
from acereason_trainer.stage import StageFailure


def require_version(drawn_from: int, step: int) -> None:
    """One optimizer step for each batch: step n is drawn from the weights of n - 1 steps."""
    if drawn_from != step - 1:
        raise broken(f"step {step} would be drawn from the weights of step {drawn_from}")


def check_rollouts(rollouts: Rollouts, advantages: Tensor, stage: RL) -> None:
    """Raise a health stop unless rewards are verdicts and equal rewards teach nothing.

    advantages: [P, G].
    """
    for group, row in zip(rollouts.groups, advantages, strict=True):
        for response in group:
            _check_reward(response, stage)
        if len({r.reward for r in group if r.counted}) <= 1 and row.any():
            raise broken(f"{_name(group[0])}: all rewards are equal, and there is an advantage")


def _check_reward(response: Rollout, stage: RL) -> None:
    reward = response.reward
    if stage.reward is not None:
        if not 0 <= reward <= 1:
            raise broken(f"{_name(response)} has reward {reward}, which is not within 0 to 1")
        return
    if reward not in (0.0, 1.0):
        raise broken(f"{_name(response)} has reward {reward}, and a verdict is 0 or 1")
    if reward and stage.prompting.thinks and THINK_END not in response.completion.text:
        raise broken(f"{_name(response)} was rewarded without {THINK_END}")


def broken(sentence: str) -> StageFailure:
    """A health stop for an invariant that does not hold."""
    return StageFailure(ExitCode.HEALTH_STOP, "InvariantBroken", f"{sentence}; please report this")


def _name(response: Rollout) -> str:
    request = response.completion.request
    return f"response {request.sample} to prompt {request.prompt_id}"
