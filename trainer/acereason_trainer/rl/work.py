"""What a step's devices did: tokens and arithmetic, for its tokens per second and its MFU."""

from acereason_trainer.policy.flops import Machinery
from acereason_trainer.policy.protocol import Batch
from acereason_trainer.rl.rollouts import Rollouts
from acereason_trainer.telemetry.speed import Work


def work_of(
    rollouts: Rollouts, batch: Batch, machinery: Machinery, beside_seconds: float = 0.0
) -> Work:
    """Of one step: responses drawn and sequences trained. A group's prompt is read once, and what
    was read from a journal took no device's time.

    beside_seconds: in which a device drew for the probe and for validation.
    """
    drawn_now = [[r for r in group if not r.completion.recalled] for group in rollouts.groups]
    groups = [group for group in drawn_now if group]
    flat = [r.completion for group in groups for r in group]
    drawn = [(len(c.request.prompt), len(c.tokens)) for c in flat]
    a, flops = machinery.arithmetic, None
    if a is not None:
        flops = (
            sum(a.writing(prompt, response) for prompt, response in drawn)
            + sum(a.reading(len(g[0].completion.request.prompt)) for g in groups)
            + a.training(map(len, batch.sequences))
        )
    return Work(
        tokens=sum(prompt + response for prompt, response in drawn),
        drawing_seconds=rollouts.drawing_seconds + beside_seconds,
        devices=machinery.devices,
        flops=flops,
        peak_flops=machinery.peak_flops,
    )
