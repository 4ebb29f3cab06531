"""What a figure was measured on: every result file carries it."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

WRITTEN = ("benchmarks/results", "docs/effects")
"""What benchmarks themselves write."""
DIRTY, UNKNOWN = "-dirty", "unknown"
"""What is said of code that is not a commit's, or where git is silent."""
PACKAGES = ("acereason", "torch", "transformers", "numpy", "sympy", "pydantic", "kopf")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel, versions, commit and date."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryGiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def is_committed(commit: str) -> bool:
    """Whether a `commit` of a machine names all of the code that was measured."""
    return commit != UNKNOWN and not commit.endswith(DIRTY)


def _commit() -> str:
    """The commit that was measured, marked where the tree differs from it in more than results."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    others = [f":!{path}" for path in WRITTEN]
    differs = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    return (commit or UNKNOWN) + (DIRTY if differs else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], check=False, capture_output=True, text=True
    ).stdout.strip()
