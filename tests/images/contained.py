"""A program in an image, run as a pod of the chart would run it, by means of the kernel alone.

The image's user, without capabilities and without a way to new ones; a root that cannot be written
to, with a /tmp of its own. What a kubelet does beyond that is not here: its seccomp profile,
cgroups and limits, a network and host name of its own, /dev with a few devices only. The tests on a
cluster have all of it.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.images.buildah import buildah

_AS_IN_A_POD = """
set -eu
root=$1 given=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$given" "$root/mnt"
mount -o remount,bind,ro "$root"
mount -o remount,bind,ro "$root/mnt"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
    --no-new-privs --inh-caps=-all --bounding-set=-all env -i "$@"
"""


class Contained:
    """An image whose files are at `root`, on this machine."""

    def __init__(self, image: str, root: Path) -> None:
        described = json.loads(buildah("inspect", "--type=image", image))
        self.config: dict[str, Any] = described["OCIv1"]["config"]
        """`User`, `Env`, `Cmd`, `Labels`, as in the OCI image specification."""
        self.root = root

    @contextmanager
    def started(self, *words: str, given: Path = Path("/mnt")) -> "Iterator[subprocess.Popen[str]]":
        """A program in it, with pipes for stdout and stderr; it ends with the block at the latest.

        given: a folder that it finds at /mnt.
        """
        user, environment = self.config["User"], self.config["Env"]
        with subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork"),
                *("sh", "-c", _AS_IN_A_POD, "sh", str(self.root), str(given), user),
                *environment,
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                # The kernel ends all others with the first one. (unshare's --kill-child is undone
                # where the user changes.)
                for first in _children(process.pid):
                    os.kill(first, signal.SIGKILL)

    def run(self, *words: str, given: Path = Path("/mnt")) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end."""
        with self.started(*words, given=given) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@contextmanager
def contained(image: str) -> Iterator[Contained]:
    """The image, mounted for as long as the block runs."""
    container = buildah("from", "--pull-never", image)
    try:
        yield Contained(image, Path(buildah("mount", container)))
    finally:
        buildah("rm", container)
