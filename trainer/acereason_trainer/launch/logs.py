"""The ranks' logs: a file each, and on a cluster the launcher's stdout too, line by line."""

import sys
from collections.abc import Sequence
from pathlib import Path


class LogFollower:
    """Copies what is appended to the logs, as whole lines, with the rank's number in front."""

    def __init__(self, logs: Sequence[tuple[int, Path]]) -> None:
        self._prefixed = len(logs) > 1
        self._open = [(rank, path.open("rb")) for rank, path in logs]
        for _, file in self._open:
            file.seek(0, 2)
        self._partial = {rank: b"" for rank, _ in logs}

    def copy(self) -> None:
        """Copy what came since the last time."""
        for rank, file in self._open:
            *lines, self._partial[rank] = (self._partial[rank] + file.read()).split(b"\n")
            self._write(rank, lines)
        sys.stdout.flush()

    def close(self) -> None:
        """Copy the rest, unfinished lines too."""
        self.copy()
        for rank, file in self._open:
            if self._partial[rank]:
                self._write(rank, [self._partial[rank]])
            file.close()
        sys.stdout.flush()

    def _write(self, rank: int, lines: Sequence[bytes]) -> None:
        prefix = f"[{rank}] ".encode() if self._prefixed else b""
        for line in lines:
            sys.stdout.buffer.write(prefix + line + b"\n")
