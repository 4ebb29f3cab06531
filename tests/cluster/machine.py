"""What a cluster needs of the machine that it runs on: Linux, root, Debian, and some packages."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping

from tests.controlplane.cache import cache, locked

PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "iptables",
    "iproute2": "ip",
    "busybox-static": "busybox",
    "openssl": "openssl",
    "e2fsprogs": "mkfs.ext4",
}
"""A program of each Debian package, by which it is known to be there."""
STAYS = "the tests on a real cluster and `make cluster` are left out"


class LeftOut(Exception):
    """This machine cannot carry a cluster; the text says why, and what is left out."""


def make_ready() -> None:
    """Install the packages that are missing, saying so first.

    Raises LeftOut where there is no Linux, no root or no Debian.
    """
    if sys.platform != "linux":
        raise LeftOut(f"{STAYS}: nodes need Linux, and this is {platform.system()}")
    if os.geteuid() != 0:
        raise LeftOut(f"{STAYS}: nodes are made by root, and this is user {os.geteuid()}")
    with locked(cache() / "packages.lock"):  # workers of one test run come here together
        _install_what_is_missing()


def _install_what_is_missing() -> None:
    missing = [package for package, program in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LeftOut(f"{STAYS}: {', '.join(missing)} are missing, and only Debian's are installed")
    print(f"installing Debian packages: {', '.join(missing)}", file=sys.stderr, flush=True)
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def _apt_get(*arguments: str) -> None:
    run = subprocess.run(
        ["apt-get", "--quiet", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        said = (run.stdout + run.stderr)[-2000:]
        raise LeftOut(f"{STAYS}: apt-get {arguments[0]} ended with {run.returncode}:\n{said}")
