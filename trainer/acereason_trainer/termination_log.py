"""The last word of a pod's container: a record that Kubernetes keeps in the pod's status.

It outlives the pod's volume mounts and is read without any right to read logs. Environment:
ACEREASON_TERMINATION_LOG, the container's terminationMessagePath; without it nothing is written.
"""

import logging
import os
from pathlib import Path

LARGEST_RECORD = 4096
"""Bytes of a Kubernetes termination message."""

_PLACE = "ACEREASON_TERMINATION_LOG"


def write_termination_log(content: bytes) -> None:
    """Give a record to Kubernetes where the environment says where. One that can't be written is a
    warning: the exit code and the store's copy still say how it ended."""
    place = os.environ.get(_PLACE)
    if not place:
        return
    try:
        # Not replaced by rename: the file is a mount of its own.
        Path(place).write_bytes(content)
    except OSError as error:
        logging.warning("%s=%s cannot be written: %s", _PLACE, place, error)
