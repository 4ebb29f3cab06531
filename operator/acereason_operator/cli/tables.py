"""Plain tables, durations and figures for people."""

from collections.abc import Sequence

from acereason_operator.api.status import StageStatus
from acereason_operator.local.run import STOPPED
from acereason_operator.planner.times import parse_time


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned to the left, two spaces apart."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def duration(seconds: float) -> str:
    """`45s`, `3m12s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def time_taken(stage: StageStatus) -> str:
    """From a stage's first attempt to its end; empty while there is no end."""
    if stage.started_at is None or stage.finished_at is None:
        return ""
    return duration((parse_time(stage.finished_at) - parse_time(stage.started_at)).total_seconds())


def state_and_message(stage: StageStatus) -> tuple[str, str]:
    """As status has them, except where Ctrl-C stopped the stage: it goes on with the next start."""
    if stage.state != "Waiting" or stage.message != STOPPED:
        return stage.state, stage.message
    return ("Stopped" if stage.attempts else "Waiting"), ""


def steps(stage: StageStatus) -> str:
    """`12/20`, as far as it is known."""
    shown, _ = state_and_message(stage)
    if shown == "Waiting" or (shown in ("Preparing", "Reused") and not stage.step):
        return ""
    return f"{stage.step}/{stage.total_steps}" if stage.total_steps else str(stage.step)
