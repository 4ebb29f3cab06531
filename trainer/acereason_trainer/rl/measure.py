"""One row of curves out of one RL step."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from torch import Tensor

from acereason_trainer.policy.protocol import Update
from acereason_trainer.rewards.verdict_metrics import verdict_shares, walls_missing
from acereason_trainer.rl.curriculum import Vitals
from acereason_trainer.rl.rollouts import Rollout, Rollouts


def measure(
    rollouts: Rollouts, advantages: Tensor, left_out: Tensor, update: Update
) -> dict[str, float]:
    """Metrics of the step by the names of telemetry/metrics.py.

    `entropy` is over all sampled tokens at the sampling temperature: mean of -log p of the sampled
    token, unbiased at top-p 1 (1.1 section 4.2). `entropy_exact` is over trained tokens.
    advantages: [P, G]. left_out: [P, G] bool, responses that are not in the loss.
    """
    flat = rollouts.flat
    lengths = [len(r.completion.tokens) for r in flat]
    tokens = sum(lengths)
    drawn_now = sum(len(r.completion.tokens) for r in flat if not r.completion.recalled)
    checked = [r for r in flat if r.counted]
    right = [r for r in checked if r.reward == 1]
    groups = [[r.reward for r in group if r.counted] for group in rollouts.groups]
    return {
        "reward": mean_reward(flat),
        "accuracy": len(right) / max(len(checked), 1),
        "entropy": -sum(sum(r.completion.logprobs) for r in flat) / max(tokens, 1),
        "entropy_exact": update.entropy,
        "mismatch_kl": update.mismatch_kl,
        "mismatch_share": update.mismatch_share,
        "response_tokens": fmean(lengths),
        "response_tokens_max": float(max(lengths)),
        "prompt_tokens": fmean(len(r.completion.request.prompt) for r in flat),
        "truncated_share": fmean(r.truncated for r in flat),
        "no_signal_share": fmean(not bool(row.any()) for row in advantages),
        "all_right_share": fmean(bool(g) and min(g) == 1 for g in groups),
        "all_wrong_share": fmean(bool(g) and max(g) == 0 for g in groups),
        **verdict_shares([r.grade.verdict for r in flat]),
        **walls_missing(r.grade for r in flat),
        "masked_share": float(left_out.float().mean()),
        "advantage_std": float(advantages.std()),
        "loss": update.loss,
        "grad_norm": update.grad_norm,
        "learning_rate": update.learning_rate,
        "trained_tokens": float(update.tokens),
        "prompts": float(len(rollouts.groups)),
        "group_size": float(len(rollouts.groups[0])),
        "generated_tokens_per_second": drawn_now / max(rollouts.generate_seconds, 1e-9),
        "tail_seconds": rollouts.tail_seconds,
        **_mean_lengths(right, checked),
    }


def vitals(metrics: Mapping[str, float]) -> Vitals:
    """What the detectors of damage look at, out of a step's metrics."""
    return Vitals(
        mismatch_kl=metrics["mismatch_kl"],
        entropy=metrics["entropy"],
        truncated_share=metrics["truncated_share"],
        tokens=metrics["trained_tokens"],
    )


def mean_reward(rollouts: Sequence[Rollout]) -> float:
    """Mean over the responses that have a verdict."""
    return fmean([r.reward for r in rollouts if r.counted] or [0.0])


def solved(rollouts: Rollouts) -> dict[str, bool]:
    """By prompt: whether all its responses of this step were right."""
    found: dict[str, bool] = {}
    for r in rollouts.flat:
        prompt = r.completion.request.prompt_id
        found[prompt] = found.get(prompt, True) and r.reward == 1
    return found


def mean_lengths(rollouts: Rollouts) -> dict[str, float]:
    """By prompt: mean tokens of its responses of this step."""
    lengths: dict[str, list[int]] = {}
    for r in rollouts.flat:
        lengths.setdefault(r.completion.request.prompt_id, []).append(len(r.completion.tokens))
    return {prompt: fmean(tokens) for prompt, tokens in lengths.items()}


def _mean_lengths(right: Sequence[Rollout], checked: Sequence[Rollout]) -> dict[str, float]:
    """Mean length of right and of wrong responses, where there are any."""
    wrong = [r for r in checked if r.reward < 1]
    named = {"response_tokens_correct": right, "response_tokens_wrong": wrong}
    return {
        name: fmean(len(r.completion.tokens) for r in some) for name, some in named.items() if some
    }
