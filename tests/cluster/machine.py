"""What a cluster needs of the machine that it runs on: Linux, root, Debian, and some packages."""

import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.cache import cache, locked
from tests.left_out import LeftOut

PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iptables": "iptables",
    "iproute2": "ip",
    "openssl": "openssl",
    "e2fsprogs": "mkfs.ext4",
}
"""A program of each Debian package, by which it is known to be there."""
FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where many of them are, and where a plain `su` does not look."""
STAYS = "the tests on a real cluster and `make cluster` are left out"


def need_root() -> None:
    """Raises LeftOut where there is no Linux or no root."""
    if sys.platform != "linux":
        raise LeftOut(f"{STAYS}: nodes need Linux, and this is {platform.system()}")
    if os.geteuid() != 0:
        raise LeftOut(f"{STAYS}: nodes are made by root, and this is user {os.geteuid()}")


def make_ready() -> None:
    """Install the packages that are missing, saying so first.

    Raises LeftOut where there is no Linux, no root or no Debian.
    """
    need_root()
    with locked(cache() / "packages.lock"):  # workers of one test run come here together
        _install_what_is_missing()
    static_busybox()


def static_busybox() -> Path:
    """A busybox that runs in an image without any library: the machine's where it is one, else
    Debian's, unpacked into the cache (1 MB, once).

    Unpacked and not installed: that would remove a busybox that needs libraries.

    Raises LeftOut where it is missing and there is no way to it.
    """
    own = shutil.which("busybox")
    if own and needs_no_library(Path(own)):
        return Path(own).resolve()
    folder = cache().with_name("busybox")
    with locked(cache() / "packages.lock"):
        if not (found := _busybox_in(folder)):
            _fetch_busybox(folder)
            found = _busybox_in(folder)
    return found[0]


def needs_no_library(program: Path) -> bool:
    """Whether a program for 64 bits names no loader of libraries (ELF's header of type 3)."""
    content = program.read_bytes()
    if not content.startswith(b"\x7fELF\x02"):
        return False
    (start,) = struct.unpack_from("<Q", content, 32)
    size, number = struct.unpack_from("<HH", content, 54)
    headers = range(start, start + size * number, size)
    return all(struct.unpack_from("<I", content, header) != (3,) for header in headers)


def _busybox_in(folder: Path) -> list[Path]:
    return list(folder.glob("unpacked/**/bin/busybox"))  # of /bin or of /usr/bin


def _fetch_busybox(folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise LeftOut(f"{STAYS}: a static busybox is missing, and only Debian's is fetched")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fetching Debian's busybox-static into {folder}", file=sys.stderr, flush=True)
    _apt_get("update")
    _apt_get("download", "busybox-static", folder=folder)
    package = max(folder.glob("busybox-static_*.deb"))
    subprocess.run(["dpkg-deb", "--extract", package, folder / "unpacked"], check=True)


def _install_what_is_missing() -> None:
    if not os.environ["PATH"].endswith(FOLDERS):
        os.environ["PATH"] += f":{FOLDERS}"
    missing = _missing()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LeftOut(f"{STAYS}: {', '.join(missing)} are missing, and only Debian's are installed")
    print(f"installing Debian packages: {', '.join(missing)}", file=sys.stderr, flush=True)
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)
    if missing := _missing():
        raise LeftOut(f"{STAYS}: programs of {', '.join(missing)} are missing, though installed")


def _missing() -> list[str]:
    return [package for package, program in PACKAGES.items() if shutil.which(program) is None]


def _apt_get(*arguments: str, folder: Path | None = None) -> None:
    run = subprocess.run(
        ["apt-get", "--quiet", *arguments],
        cwd=folder,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode != 0:
        said = (run.stdout + run.stderr)[-2000:]
        raise LeftOut(f"{STAYS}: apt-get {arguments[0]} ended with {run.returncode}:\n{said}")
