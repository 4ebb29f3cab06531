"""The project's images in buildah's local storage, built where their sources changed.

No registry is asked for anything: the images stand on a Debian made by debootstrap, which is kept
in the tests' cache. What an image holds beside it comes from the package index that pip is
configured with.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from images.build import IMAGES
from tests.controlplane.cache import cache, locked
from tests.images.buildah import buildah, run
from tests.left_out import LeftOut, left_out_where_a_command_fails, tried_once

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
"""The Debian whose Python is the one that everything is tested with."""
PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
"""Programs that are needed, and the Debian packages that have them."""
_held: list[IO[str]] = []
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_STAYS = "the tests of images and those on a real cluster are left out"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@tried_once
def images() -> Mapping[str, str]:
    """Reference of each image: {"operator": "localhost/acereason-operator:TAG", ...}, also of
    `verifier` and `trainer` (for CPUs).

    A tag is the digest of all that its image is made from, so an image that is there is never built
    again; older ones are removed. Costs on 2 cores: 1 s where nothing changed; 40 s where code did;
    where nothing is there, about 5 minutes, most of them for the trainer's packages, and 5 GB. Each
    change of code leaves 30 MB of layers, which `buildah rmi --prune` removes.

    Raises LeftOut where the machine is no Debian, the user is not root, or a build fails.
    """
    with left_out_where_a_command_fails(f"{_STAYS}, since the images cannot be built here"):
        with locked(cache() / "packages.lock"):  # apt-get's own locks wait for nobody
            _install_packages()
        with locked(cache() / "images.lock"):
            base = debian()
            wanted = {part: f"localhost/acereason-{part}:{_digest(part, base)}" for part in IMAGES}
            there = _there()
            for part, name in wanted.items():
                if name not in there:
                    _build(part, name, base)
            _keep_only({base, *wanted.values()})
    return wanted


def _keep_only(names: set[str]) -> None:
    """Remove older images, unless a process lives that may still have been given them: each holds a
    shared lock to its end."""
    use = (cache() / "images.used").open("a")
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in _there() - names:
            buildah("rmi", "--force", name)
    fcntl.flock(use, fcntl.LOCK_SH)
    _held.append(use)


def _install_packages() -> None:
    missing = sorted(package for program, package in PACKAGES.items() if not shutil.which(program))
    if os.geteuid() != 0:
        raise LeftOut(f"{_STAYS}: images are built by root, and this is user {os.geteuid()}")
    if missing and not shutil.which("apt-get"):
        raise LeftOut(
            f"{_STAYS}: building images needs {' and '.join(missing)}, and this is no Debian"
        )
    if missing:
        _say(f"installing Debian's {', '.join(missing)}, which build the images")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            _run(["apt-get", "--quiet=2", *step], env=environment)


def debian() -> str:
    """An image with Debian's Python to build on, made once (40 s)."""
    recipe = f"{SUITE} {_BASE_PACKAGES} no devices"
    name = f"localhost/acereason-base:{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if name in _there():
        return name
    _say(f"making a base image of Debian {SUITE}: a minute, once")
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        tree = Path(folder) / "root"
        _run(
            ["debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", SUITE, tree],
            env=os.environ | {"DPKG_FORCE": "unsafe-io"},  # nothing here has to outlive a crash
        )
        for of_no_use in ("dev", "var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(tree / of_no_use)
            (tree / of_no_use).mkdir()
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, tree, "/")
        buildah(
            "config",
            "--env",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            container,
        )
        buildah("commit", "--quiet", "--rm", container, name)
    return name


def _there() -> set[str]:
    """Images of the tests; those that `make images` made carry other tags."""
    names = buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
    return {n for n in names if re.fullmatch(r"localhost/acereason-\w+:[0-9a-f]{16}", n)}


def _digest(part: str, base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for path in _sources(part):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(part: str) -> Iterator[Path]:
    """Every file that the image is made from."""
    yield from (ROOT / name for name in ("LICENSE", "README.md", "pyproject.toml"))
    yield from (ROOT / "images" / name for name in ("install.sh", "tools.lock"))
    for folder in (ROOT / "images" / part, ROOT / "operator", ROOT / "trainer"):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        yield from (path for path in files if "__pycache__" not in path.parts)


def _build(part: str, name: str, base: str) -> None:
    _say(f"building {name}: seconds where only code changed, else minutes")
    registry, tag = name.rsplit("/", 1)[0], name.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "images.build", part, "--engine=buildah", "--device=cpu",
               f"--registry={registry}", f"--tag={tag}", f"--base={base}"]  # fmt: skip
    run(command, cwd=ROOT).check_returncode()


def _run(command: Sequence[str | Path], env: Mapping[str, str]) -> None:
    """Raises CalledProcessError with all that it said."""
    subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
