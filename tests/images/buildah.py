"""buildah, as it works where there is no engine and no further right than being root."""

import os
import subprocess

ENVIRONMENT = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}
"""Where images are, and how builds run: whoever calls buildah sets these."""


def buildah(*arguments: object) -> str:
    """What a command of buildah prints on stdout. Raises CalledProcessError with its stderr."""
    try:
        done = subprocess.run(
            ["buildah", *map(str, arguments)],
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)  # or a test that fails shows the command alone
        raise
    return done.stdout.strip()
