"""Our contestant: a stage as it is, which waits for its turn before each step.

Started as `python -m benchmarks.trainer_ours STAGE_FILE` (peers/turns.py says how turns are taken).
The stage is the product's own, from loading to optimizer; only the place between two steps, where
it saves its states, is ours.
"""

import sys
from collections.abc import Set
from importlib import import_module
from pathlib import Path
from typing import Any

from acereason_trainer.__main__ import STAGES, configure_torch, leave_out_progress_bars
from acereason_trainer.checkpoints import Checkpoints, Resumed
from acereason_trainer.config.read_stage_file import read_stage_file

from benchmarks.peers.turns import Turns
from benchmarks.stage_files import context_of

TURNS: list[Turns] = []


class TakesTurns(Checkpoints):
    """Tells what a step was and waits for the next turn, in one place: whatever the loop does
    between two steps is of a turn."""

    _drawn: Set[str] = frozenset()
    """Prompts of all steps so far."""

    def resume(self) -> Resumed:
        """Ready."""
        resumed = super().resume()
        TURNS[0].over()
        TURNS[0].wait()
        return resumed

    def completed(self, step: int, loop: dict[str, Any] | None = None) -> None:
        """A step is done, with what is saved after it."""
        super().completed(step, loop)
        row = self._recorder.rows[-1]
        TURNS[0].over(step=row["step"], metrics=row, prompts=self._new_prompts(loop))
        TURNS[0].wait()

    def _new_prompts(self, loop: dict[str, Any] | None) -> list[str]:
        """Those that the step was the first to draw; none of a stage that draws nothing."""
        drawn = set(loop["lengths"]) if loop else set()
        new, self._drawn = drawn - self._drawn, drawn
        return sorted(new)


def main() -> None:
    """Train until there are no more turns."""
    TURNS.append(Turns())
    file = read_stage_file(Path(sys.argv[1]))
    configure_torch()
    leave_out_progress_bars()
    loop = import_module(STAGES[file.settings.kind])
    loop.Checkpoints = TakesTurns  # type: ignore[attr-defined]
    loop.run(context_of(file))


if __name__ == "__main__":
    main()
