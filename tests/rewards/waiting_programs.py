"""A program that runs in a sandbox until it is told to go on, however slow the machine is."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

from acereason_trainer.config.common import CodeLimits

LIMITS = CodeLimits(seconds_per_test=600, seconds_per_program=1200, memory_mib=256)
"""Under which it is not ended for doing nothing while somebody looks at it."""
WAITS = """import signal, time
told = []
signal.signal(signal.SIGWINCH, lambda *_: told.append(True))
while not told:
    time.sleep(0.02)
"""


def tell(program: int) -> None:
    """Let a program that waits go on."""
    os.kill(program, signal.SIGWINCH)


def waits(process: int) -> bool:
    """Whether this is such a program, and as far as that: it does not lose what it is told."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{process}/status").read_text("latin-1")
        caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, re.M)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGWINCH - 1) & 1)
    return False
