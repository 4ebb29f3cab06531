"""`make cluster`: a whole cluster to play with, until Ctrl-C."""

import argparse
import signal
import sys
import time

from tests.cluster.image_seed import BUSYBOX
from tests.cluster.images import NoSuchImage
from tests.cluster.lifetime import AlreadyRuns, running_cluster
from tests.cluster.machine import LeftOut
from tests.cluster.network import Taken
from tests.controlplane.control_plane import NotReady

_LOADING = """\
    for node in n1 n2; do
      STORAGE_DRIVER=overlay \\
      skopeo copy --quiet containers-storage:$IMAGE docker-archive:/dev/stdout:$IMAGE |
      ctr --address {folder}/$node/containerd/containerd.sock --namespace k8s.io images import -
    done"""


def main() -> None:
    """Start one, print how to talk to it, wait, end it."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("images", nargs="*", help="of buildah's local store, for both nodes")
    images: list[str] = parser.parse_args().images
    # A shell starts background jobs with SIGINT ignored; both signals end this in peace.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    begun = time.monotonic()
    try:
        with running_cluster(images) as cluster:
            print(f"ready after {time.monotonic() - begun:.0f} s")
            print(f"export KUBECONFIG={cluster.kubeconfig}")
            print(f"alias kubectl={cluster.programs['kubectl']}")
            print(cluster.kubectl("get", "nodes", "-o", "wide"), end="")
            print(f"an image with a shell, on both nodes: {BUSYBOX}")
            print(
                "others, of buildah's local store: make cluster IMAGES='NAME:TAG NAME:TAG', or now:"
            )
            print(_LOADING.format(folder=cluster.folder))
            print("Ctrl-C ends it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(0)
    except (LeftOut, AlreadyRuns, Taken, NoSuchImage, NotReady) as why:
        sys.exit(f"make cluster: {why}")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
