"""How well a step has used its devices: tokens per second, share of idle time, MFU."""

from collections.abc import Mapping
from dataclasses import dataclass

BUSY = ("train", "push")
"""Phases in which every device works, beside the drawing of responses."""


@dataclass(frozen=True)
class Work:
    """What all devices did in one step."""

    tokens: int
    """Tokens that were drawn, with their prompts; of SFT those that were trained."""
    drawing_seconds: float
    """In which a device drew responses, for the probe and validation too, as the mean over the
    devices: those that are done earlier wait for the others. SFT draws none."""
    devices: int
    """Ranks of the stage."""
    flops: float | None = None
    """Operations of drawing and training by the model's arithmetic; None: not known."""
    peak_flops: float | None = None
    """Operations per second of which one device is capable; None: not known."""


def speed_of(work: Work, seconds: Mapping[str, float]) -> dict[str, float]:
    """Metrics of a step from its work and from its `<phase>_seconds` and `step_seconds`."""
    step = max(seconds["step_seconds"], 1e-9)
    busy = work.drawing_seconds + sum(seconds.get(f"{phase}_seconds", 0.0) for phase in BUSY)
    speed = {
        "device_tokens_per_second": work.tokens / step / work.devices,
        "idle_share": min(max(1 - busy / step, 0.0), 1.0),
    }
    if work.flops is not None and work.peak_flops is not None:
        speed["mfu"] = work.flops / (step * work.devices * work.peak_flops)
    return speed
