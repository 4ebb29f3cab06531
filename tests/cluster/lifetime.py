"""How long a cluster lives: as long as one block of code, and one on a machine at a time.

The kernel lets go of the lock when its holder ends, however it ends. So whoever gets the lock knows
that all that is left of a cluster belongs to nobody, and removes it first.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.cluster import cgroups, machine, network
from tests.cluster.cluster import NODES, Cluster, prepared_cluster
from tests.cluster.containerd import remove_cached_results, remove_dead_sockets
from tests.cluster.image_seed import ImageSeed
from tests.cluster.node import cgroup
from tests.cluster.programs import cluster_programs
from tests.controlplane import marked_processes

STATE = Path("/var/lib/acereason-cluster")
"""Fixed, as the names and addresses that a cluster takes on its machine are: what a crash left is
found wherever the next one is started. Removing it by hand costs the unpacked images."""
_RUNNING = STATE / "running"


class AlreadyRuns(Exception):
    """Somebody else on this machine has a cluster; the text says who."""


@contextmanager
def running_cluster(images: Sequence[str] = ()) -> Iterator[Cluster]:
    """A cluster, ready within a minute, and nothing of it left after the block.

    images: names in buildah's local store that both nodes shall have (`imagePullPolicy: Never` or
    `IfNotPresent`). The first time costs their unpacking.

    Raises machine.LeftOut where this machine cannot carry one, AlreadyRuns and network.Taken where
    it may not, images.NoSuchImage, and NotReady with the end of the log of what did not come up.
    """
    machine.make_ready()
    programs = cluster_programs()
    with _alone():
        _remove()
        network.refuse_what_is_taken()
        begun = time.monotonic()
        seed = ImageSeed(STATE / "seed")
        busybox = machine.static_busybox()
        unpacked = seed.hold(images, pause=programs["pause"], busybox=busybox)
        loaded = time.monotonic()
        _RUNNING.mkdir()
        try:
            network.connect(_RUNNING, len(NODES))
            cluster = prepared_cluster(_RUNNING, programs)
            cluster.start(seed)
            yield replace(
                cluster,
                seconds_to_load=loaded - begun,
                seconds_to_start=time.monotonic() - loaded,
                images_unpacked=unpacked,
            )
        finally:
            _remove()


def remove_abandoned() -> None:
    """End and remove what a crash has left of a cluster; AlreadyRuns where somebody has one."""
    with _alone():
        _remove()


@contextmanager
def _alone() -> Iterator[None]:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (STATE / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRuns(
                f"a cluster already runs on this machine, started by {lock.read().strip()}; end "
                "that one first: two would take each other's addresses"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} ({shlex.join(sys.orig_argv)[:200]})")
        lock.flush()
        yield


def _remove() -> None:
    """End and remove a cluster, or what is left of one, as far as any of it is there."""
    marked_processes.kill(str(STATE))
    for unfinished in (STATE / "seed").glob("layout-*"):
        shutil.rmtree(unfinished)
    if not _RUNNING.exists():
        return  # rules of kube-proxy would be somebody else's
    for node in NODES:
        cgroups.remove(cgroup(node))
    _unmount()
    network.disconnect(_RUNNING)
    remove_dead_sockets()
    remove_cached_results(_RUNNING)
    for link in Path("/var/log/containers").glob("*.log"):  # the kubelet's, in a fixed folder
        if link.readlink().is_relative_to(_RUNNING):
            link.unlink()
    shutil.rmtree(_RUNNING)


def _unmount() -> None:
    """One that goes by itself meanwhile makes umount fail, and the others go all the same."""
    while mounts := _mounts():
        done = subprocess.run(
            ["umount", "--lazy", *mounts], check=False, capture_output=True, text=True
        )
        if done.returncode and _mounts() == mounts:
            raise RuntimeError(done.stderr)


def _mounts() -> list[str]:
    """Ours, last mounted first."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    mounts = [Path(line.split()[4]) for line in lines]
    return [str(mount) for mount in reversed(mounts) if mount.is_relative_to(_RUNNING)]
