"""`make controlplane`: a control plane to play with, until Ctrl-C."""

import signal
import sys

from tests.controlplane.control_plane import NotReady
from tests.controlplane.lifetimes import private_control_plane
from tests.left_out import LeftOut


def main() -> None:
    """Start one, print how to talk to it, wait, end it."""
    # A shell starts background jobs with SIGINT ignored; both signals end this in peace.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with private_control_plane() as control_plane:
            print(f"kubeconfig: {control_plane.kubeconfig}")
            print(
                f"try: {control_plane.programs['kubectl']} --kubeconfig {control_plane.kubeconfig} "
                "explain arr.spec.stages"
            )
            print("Ctrl-C ends it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(0)
    except (LeftOut, NotReady) as why:
        sys.exit(f"make controlplane: {why}")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
