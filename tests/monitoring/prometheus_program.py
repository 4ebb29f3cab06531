"""Prometheus and promtool: those on the PATH, else Debian's, unpacked into the cache.

Unpacked and not installed: so no service is started, no user is made, and no root is needed where
the package lists are there.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.cache import cache, locked
from tests.left_out import LeftOut, left_out_where_a_command_fails, tried_once

NAMES = ("prometheus", "promtool")
PACKAGE = "prometheus"


@tried_once
def prometheus_programs() -> Mapping[str, Path]:
    """Path of each program; fetches what is missing (20 MB, once). Raises LeftOut where there is no
    way to them."""
    found = {name: Path(path) for name in NAMES if (path := shutil.which(name))}
    if len(found) == len(NAMES):
        return found
    folder = cache().with_name("prometheus")
    unpacked = {name: folder / "usr/bin" / name for name in NAMES}
    with locked(folder / "fetch.lock"):
        if not all(path.is_file() for path in unpacked.values()):
            with locked(cache() / "packages.lock"):  # apt-get's own locks wait for nobody
                _fetch(folder)
    return unpacked


def _fetch(folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise LeftOut(
            "prometheus and promtool are not on the PATH, and this is no Debian to fetch them from;"
            " install Prometheus 2.42 or newer"
        )
    print(f"fetching Debian's prometheus into {folder}: 20 MB, once", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=folder) as made:
        unfinished = Path(made)
        if _run(unfinished, "apt-get", "download", "--quiet", PACKAGE).returncode:
            _run(unfinished, "apt-get", "update", "--quiet")  # a container's lists are empty
            with left_out_where_a_command_fails("Prometheus is left out"):
                _run(unfinished, "apt-get", "download", "--quiet", PACKAGE).check_returncode()
        (package,) = unfinished.glob("*.deb")
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
        ).stdout
        names = [f"./usr/bin/{name}" for name in NAMES]
        subprocess.run(["tar", "--extract", *names], input=archive, cwd=unfinished, check=True)
        for name in NAMES:
            unpacked = folder / "usr/bin" / name
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            (unfinished / "usr/bin" / name).rename(unpacked)


def _run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
