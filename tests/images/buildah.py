"""buildah, as it works where there is no engine and no further right than being root."""

import os
import subprocess

ENVIRONMENT = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}
"""Where images are, and how builds run: whoever calls buildah sets these."""


def buildah(*arguments: object) -> str:
    """What a command of buildah prints on stdout. Raises CalledProcessError with its stderr."""
    done = subprocess.run(
        ["buildah", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()
