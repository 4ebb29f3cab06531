"""buildah, as it works where there is no engine and no further right than being root."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

ENVIRONMENT = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}
"""Where images are, and how builds run: whoever calls buildah sets these."""
_TRIES = 5


def run(
    command: Sequence[str | Path], cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run buildah, or a program that calls it, to its end, well or badly.

    buildah copies itself into memory at its start, which a busy kernel refuses now and then; it has
    done nothing by then, and is started again.
    """
    tries = 0
    while True:
        tries += 1
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | ENVIRONMENT | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        refused = done.returncode != 0 and "memfd" in done.stdout + done.stderr
        if not refused or tries == _TRIES:
            return done


def buildah(*arguments: object) -> str:
    """What a command of buildah prints on stdout. Raises CalledProcessError with its stderr."""
    done = run(["buildah", *map(str, arguments)])
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)  # or a test that fails shows the command alone
        raise
    return done.stdout.strip()
