"""An image registry on this machine, built once from the version in registry/go.mod.

It keeps everything in memory and speaks HTTP, which an engine must be told is meant: `registry`
writes a file that CONTAINERS_REGISTRIES_CONF can name.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.programs import GoModule, programs
from tests.waiting import wait_for

REGISTRY = GoModule(
    folder=Path(__file__).parent / "registry",
    packages={"registry": "github.com/google/go-containerregistry/cmd/registry"},
    versioned_by="github.com/google/go-containerregistry",
    variables=[],
)


@contextmanager
def registry(folder: Path) -> Iterator[tuple[str, Path]]:
    """Its address, as image names begin with it, and the file with which buildah and podman take
    HTTP from it; it ends with the block."""
    log = folder / "registry.log"
    with log.open("w") as said:
        process = subprocess.Popen([programs(REGISTRY)["registry"], "-port=0"], stderr=said)
    try:
        wait_for(lambda: _port(log) is not None, "the registry's port", log.read_text)
        address = f"localhost:{_port(log)}"
        conf = folder / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        yield address, conf
    finally:
        process.kill()
        process.wait()


def _port(log: Path) -> str | None:
    found = re.search(r"serving on port (\d+)", log.read_text())
    return found and found[1]
