"""The launcher by a clock that its rank sets: `launcher_by_clock.py STAGE_FILE OPTIONS`.

So how long a rank goes without a step is the test's to say, however slow the machine is.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from acereason_trainer.launch import __main__ as launcher

CLOCK = Path(sys.argv[1]).with_name("clock")


def monotonic() -> float:
    """Seconds that the rank has written down (`set_clock` in fake_rank.py); 0 before the first."""
    return float(CLOCK.read_text()) if CLOCK.exists() else 0.0


if __name__ == "__main__":
    launcher.time = SimpleNamespace(monotonic=monotonic)  # type: ignore[assignment, attr-defined]
    sys.exit(launcher.main())
