"""Who used the machine's cores meanwhile: a latency on a busy machine is the machine's."""

import os
import time
from pathlib import Path

from acereason_trainer.processes import cpu_seconds

from tests.controlplane import marked_processes
from tests.controlplane.control_plane import ControlPlane


class Load:
    """Cores in use between `start` and `cores`."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._mark = str(control_plane.folder)

    def start(self) -> None:
        """From now on."""
        self._at, self._plane = time.monotonic(), self._control_plane()
        self._own, self._all = time.process_time(), _busy_seconds()

    def cores(self, operator: float) -> dict[str, float]:
        """Cores in use since the start, on average, by who used them. operator: its CPU seconds."""
        used = {
            "operator": operator,
            "controlPlane": self._control_plane() - self._plane,
            "player": time.process_time() - self._own,
        }
        used["others"] = max(_busy_seconds() - self._all - sum(used.values()), 0.0)
        seconds = time.monotonic() - self._at
        return {name: round(n / seconds, 2) for name, n in used.items()}

    def _control_plane(self) -> float:
        return sum(cpu_seconds(pid) for pid in marked_processes.alive(self._mark))


def _busy_seconds() -> float:
    """Of all cores, since the machine started: all but idle and waiting; what the host took from
    this machine counts."""
    fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
