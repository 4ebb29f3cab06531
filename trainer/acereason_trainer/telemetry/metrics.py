"""Every metric of a stage: its name in metrics.jsonl, its unit, what it means.

One table. The recorder refuses a name that is not in it; gauges, the report's captions and the
reference page are made from it. A metric that measures time ends in `_seconds` or `_per_second`, or
is one of `SHARES_OF_TIME`: two runs of the same work differ in these and in nothing else.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One column of metrics.jsonl and one gauge."""

    name: str
    """Column; the gauge is `acereason_stage_<name>`."""
    unit: str
    """Unit, for captions."""
    help: str
    """One sentence."""


PHASES: dict[str, str] = {
    "data": "Waiting for the next batch of an SFT stage: reading, packing, telling the other ranks",
    "generate": "Drawing responses",
    "reward_wait": "Waiting for verdicts after the last response was drawn",
    "train": "Forward, backward and optimizer step",
    "push": "Handing the new weights to the sampler",
    "validate": "Drawing responses to measure accuracy inside an RL stage",
    "validate_wait": "Waiting for the verdicts of a validation after its last response was drawn",
    "probe": "Drawing responses to choose the temperature by entropy",
    "probe_wait": "Waiting for the verdicts of the probe after its last response was drawn",
    "save": "Writing resume states",
    "rules": "Rules, deduplication and decontamination",
}
"""Phases of a step: what `progress.json` says is going on, and a `<phase>_seconds` metric each."""

AROUND: dict[str, str] = {
    "load": "Reading model, data and resume state",
    "publish": "Writing the artifact",
}
"""Phases before the first step and after the last one: `progress.json` alone has them."""

_TABLE = (
    Metric("loss", "", "Training loss of the step: SFT in nats per token, RL the objective."),
    Metric("grad_norm", "", "Global gradient norm before clipping."),
    Metric("learning_rate", "", "Learning rate of the step."),
    Metric("epoch", "passes", "Passes over the data so far."),
    Metric("trained_tokens", "tokens", "Tokens with a weight in the loss."),
    Metric("padding_share", "fraction", "Room of the rows that no token fills."),
    Metric("documents", "rows", "Documents (SFT) in the step."),
    Metric("reward", "", "Mean reward over checked responses."),
    Metric("accuracy", "fraction", "Share of responses that are right."),
    Metric("entropy", "nats", "Mean -log p of the sampled tokens under the sampling temperature."),
    Metric(
        "entropy_exact",
        "nats",
        "Mean full-vocabulary entropy at the sampling temperature over trained tokens.",
    ),
    Metric(
        "mismatch_kl",
        "nats",
        "Mean of r - 1 - log r over trained tokens, r = p of trainer / p of sampler.",
    ),
    Metric(
        "mismatch_share",
        "fraction",
        "Trained tokens with p of trainer / p of sampler outside of 0.8 to 1.25.",
    ),
    Metric(
        "probe_difference",
        "nats",
        "Mean distance of vLLM's log p from the trainer's over a fixed probe, after a push.",
    ),
    Metric("entropy_target", "nats", "Entropy that the temperature was chosen for, if any."),
    Metric("temperature", "", "Sampling temperature."),
    Metric("group_size", "responses", "Responses per prompt."),
    Metric("prompts", "prompts", "Prompts of the step."),
    Metric("prompts_left", "prompts", "Prompts that the stage still draws from."),
    Metric("response_tokens", "tokens", "Mean length of a response."),
    Metric("response_tokens_max", "tokens", "Longest response of the step."),
    Metric("response_tokens_correct", "tokens", "Mean length of right responses."),
    Metric("response_tokens_wrong", "tokens", "Mean length of wrong responses."),
    Metric("prompt_tokens", "tokens", "Mean length of a prompt."),
    Metric("truncated_share", "fraction", "Responses that hit the length limit."),
    Metric(
        "no_signal_share",
        "fraction",
        "Groups whose rewards are all equal, so that they teach nothing.",
    ),
    Metric("refills", "", "How often groups without signal were replaced, with dynamicSampling."),
    Metric("all_right_share", "fraction", "Groups in which every response is right."),
    Metric("all_wrong_share", "fraction", "Groups in which no response is right."),
    Metric("masked_share", "fraction", "Responses that are left out of the loss."),
    Metric("correct_share", "fraction", "Responses whose answer is right; cut ones among them."),
    Metric("wrong_share", "fraction", "Responses with a wrong answer or output."),
    Metric("format_share", "fraction", "Responses without an answer where one must stand."),
    Metric("runtime_error_share", "fraction", "Programs that raised or crashed."),
    Metric("timeout_share", "fraction", "Answers that took too long to run or to compare."),
    Metric("memory_share", "fraction", "Answers that needed too much memory."),
    Metric("output_limit_share", "fraction", "Programs that wrote too much."),
    Metric("infra_error_share", "fraction", "Responses whose check failed for our own reasons."),
    Metric(
        "walls_missing",
        "walls",
        "Walls around model-written programs (landlock, seccomp) that the verifier's kernel lacks.",
    ),
    Metric("advantage_std", "", "Standard deviation of the advantages of the step."),
    Metric(
        "validation_accuracy",
        "fraction",
        "Accuracy on the validation problems, of the weights that drew the step. The end's weights "
        "have a row of their own, as if they drew a further step.",
    ),
    Metric("validation_stderr", "fraction", "Standard error of validation_accuracy."),
    Metric("alarm_number", "", "1 where the loss or gradient of the step is not a number."),
    Metric("alarm_reward", "", "1 where the mean reward has fallen too far below its best."),
    Metric("alarm_mismatch", "", "1 where trainer and sampler are not the same model any more."),
    Metric("alarm_entropy", "", "1 where the entropy has left its band."),
    Metric("alarm_truncation", "", "1 where too many responses hit the length limit."),
    Metric("rows", "rows", "Rows looked at."),
    Metric("rows_kept", "rows", "Rows that are still in."),
    Metric(
        "tokens_per_second",
        "tokens/s",
        "Tokens of the documents (SFT) by the seconds of the training step.",
    ),
    Metric(
        "generated_tokens_per_second",
        "tokens/s",
        "Generated tokens by the seconds of generation alone.",
    ),
    Metric(
        "device_tokens_per_second",
        "tokens/s",
        "Tokens that a step drew (RL, with their prompts) or trained (SFT) by its seconds, for "
        "each device.",
    ),
    Metric(
        "idle_share",
        "fraction",
        "Share of a step outside of drawing, training and handing weights over: devices "
        "wait for data, for verdicts, for slower ranks, for states to be written.",
    ),
    Metric(
        "mfu",
        "fraction",
        "Arithmetic of a step, drawing and training, as a share of what the devices could do in "
        "its seconds.",
    ),
    Metric(
        "tail_seconds", "s", "Seconds between 90 % and 100 % of the step's responses being done."
    ),
    Metric("step_seconds", "s", "Wall-clock seconds of the step."),
    *(Metric(f"{phase}_seconds", "s", f"{what}.") for phase, what in PHASES.items()),
)

METRICS: dict[str, Metric] = {m.name: m for m in _TABLE}
"""Every metric by name."""

HEADLINES = frozenset(
    {
        "loss",
        "reward",
        "accuracy",
        "entropy",
        "response_tokens",
        "truncated_share",
        "validation_accuracy",
        "rows_kept",
        "tokens_per_second",
        "generated_tokens_per_second",
    }
)
"""Few metrics for progress.json and status."""


SHARES_OF_TIME = frozenset({"idle_share", "mfu"})


def is_timing(name: str) -> bool:
    """Whether a metric measures time, so that equal runs may differ in it."""
    return name.endswith(("_seconds", "_per_second")) or name in SHARES_OF_TIME
