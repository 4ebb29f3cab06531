"""A rank that stands still after a step until it is told to stop: `held_rank.py STEP STAGE_FILE`.

So a stage is still in the middle when a signal comes, however fast its steps are. Of several ranks
the first one stands still; the others wait for it in the next collective. It is told to stop by the
launcher, also where another rank has failed.
"""

import os
import sys
import time
from typing import Any

from acereason_trainer import __main__ as rank
from acereason_trainer.checkpoints import Checkpoints

HELD_AT = int(sys.argv.pop(1))
completed = Checkpoints.completed


def completed_and_held(self: Checkpoints, step: int, loop: dict[str, Any] | None = None) -> None:
    """A step is done, and no other begins."""
    completed(self, step, loop)
    while step >= HELD_AT and os.environ["RANK"] == "0" and not self._context.stop.is_set:
        time.sleep(0.01)


if __name__ == "__main__":
    Checkpoints.completed = completed_and_held  # type: ignore[method-assign]
    sys.exit(rank.main())
