"""Two trainers in two processes, taking turns at every step.

What disturbs a machine for some seconds then falls on both, and neither computes while the other
does. Runs in the peers' environments: the standard library only.

    driver  -> contestant   one line: go on
    contestant -> driver    one JSON line when it is ready, and one with `step` for each turn

Whoever has answered waits at once: what it does next is of its next turn.
"""

import json
import os
import sys
from typing import Any


class Turns:
    """The contestant's end. Whatever is printed meanwhile goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def wait(self) -> None:
        """Until it is our turn; the process ends where there are no more."""
        if not sys.stdin.readline():
            # The trainers' own ends (publishing, thread pools) are not what is measured.
            os._exit(0)

    def over(self, **answer: Any) -> None:
        """Say what the turn was."""
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()
