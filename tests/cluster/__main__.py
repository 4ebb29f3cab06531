"""`make cluster`: a whole cluster to play with, until Ctrl-C.

    python -m tests.cluster --clean

ends and removes what a crash has left of one, of the tests' too; so does the next start.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from tests.cluster.image_seed import BUSYBOX
from tests.cluster.images import NoSuchImage
from tests.cluster.lifetime import AlreadyRuns, remove_abandoned, running_cluster
from tests.cluster.machine import need_root
from tests.controlplane.control_plane import NotReady
from tests.left_out import LeftOut

_LOADING = """\
    for node in n1 n2; do
      STORAGE_DRIVER=overlay \\
      skopeo copy --quiet containers-storage:$IMAGE docker-archive:/dev/stdout:$IMAGE |
      ctr --address {folder}/$node/containerd/containerd.sock --namespace k8s.io images import -
    done"""


def main() -> None:
    """Start one, print how to talk to it, wait, end it; or remove what is left of one."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description="Start a whole cluster to play with, until Ctrl-C (`make cluster`).",
    )
    parser.add_argument("images", nargs="*", help="of buildah's local store, for both nodes")
    parser.add_argument(
        "--clean",
        action="store_true",
        help="start none, but end and remove what a crash has left of one: its processes, "
        "containers, mounts, rules of iptables, addresses and files; the images stay unpacked",
    )
    given = parser.parse_args()
    if given.clean and given.images:
        parser.error("--clean starts no cluster that could have images")
    # A shell starts background jobs with SIGINT ignored; both signals end this in peace.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        if given.clean:
            need_root()
            remove_abandoned()
        else:
            _play(given.images)
    except KeyboardInterrupt:
        sys.exit(0)
    except (LeftOut, AlreadyRuns, NoSuchImage, NotReady) as why:
        sys.exit(f"make cluster: {why}")


def _play(images: Sequence[str]) -> None:
    begun = time.monotonic()
    with running_cluster(images) as cluster:
        print(f"ready after {time.monotonic() - begun:.0f} s")
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        print(f"alias kubectl={cluster.programs['kubectl']}")
        print(cluster.kubectl("get", "nodes", "-o", "wide"), end="")
        print(f"an image with a shell, on both nodes: {BUSYBOX}")
        print("others, of buildah's local store: make cluster IMAGES='NAME:TAG NAME:TAG', or now:")
        print(_LOADING.format(folder=cluster.folder))
        print("Ctrl-C ends it", flush=True)
        signal.pause()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
