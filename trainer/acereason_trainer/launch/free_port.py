"""A port at which the ranks of one machine meet."""

import random
import socket

PORTS = range(10_000, 30_000)
"""Below those that Linux gives to whoever connects somewhere, and below a cluster's node ports. Of
the former one could be another program's by the time that a rank has imported torch and listens."""


def free_port() -> int:
    """A port that nobody has now, and that is given to nobody who doesn't ask for it by number.

    Raises OSError where every port of a hundred is taken.
    """
    # Not the module's own generator, which whoever seeds it would have in one state.
    tried = random.SystemRandom().choices(PORTS, k=100)
    for port in tried:
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of {len(tried)} ports from {PORTS.start} to {PORTS.stop - 1} is free")
