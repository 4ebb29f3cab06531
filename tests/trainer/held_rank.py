"""A rank that stands still after a step until it is told to stop: `held_rank.py STEP STAGE_FILE`.

So a stage is still in the middle when a signal comes, however fast its steps are. Of several ranks
the first one stands still; the others wait for it in the next collective. It is told to stop by the
launcher, also where another rank has failed. Where a model is measured, a step is an answer that
the first rank has kept.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from acereason_trainer import __main__ as rank
from acereason_trainer.checkpoints import Checkpoints
from acereason_trainer.evaluation.journal import AnswerJournal
from acereason_trainer.stage import StopFlag
from acereason_trainer.telemetry import recorder

HELD_AT = int(sys.argv.pop(1))
STOPS: list[StopFlag] = []
KEPT: list[int] = []
listen, completed, keep = StopFlag.listen, Checkpoints.completed, AnswerJournal.keep


def listened_and_known(self: StopFlag) -> None:
    """The rank's own flag."""
    STOPS.append(self)
    listen(self)


def hold(step: int) -> None:
    """No other step begins."""
    while step >= HELD_AT and os.environ["RANK"] == "0" and not STOPS[0].is_set:
        time.sleep(0.01)


def completed_and_held(self: Checkpoints, step: int, loop: dict[str, Any] | None = None) -> None:
    """A step is done."""
    completed(self, step, loop)
    hold(step)


def kept_and_held(self: AnswerJournal, answers: Sequence[Any]) -> None:
    """So are some answers."""
    keep(self, answers)
    KEPT.append(len(answers))
    hold(sum(KEPT))


if __name__ == "__main__":
    StopFlag.listen = listened_and_known  # type: ignore[method-assign]
    Checkpoints.completed = completed_and_held  # type: ignore[method-assign]
    AnswerJournal.keep = kept_and_held  # type: ignore[method-assign]
    # What it stands still at must be seen: the look that would show it otherwise never comes.
    recorder.SECONDS_BETWEEN_LOOKS = 0
    rank.run_to_its_end()  # as a real one: whatever else goes with its process is no crash
