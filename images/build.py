"""Builds the images from this checkout, and pushes them where that is asked for.

Each Containerfile can be built by hand as well; this adds what its file cannot know: version and
commit for the labels, one time for all files, and the index and certificates that pip and uv are
configured with on this machine, which the build sees as secrets and no image keeps.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from images.index_settings import index_settings
from images.locks import stale_locks

IMAGES = ("operator", "verifier", "trainer")
ENGINES = ("buildah", "podman", "docker")
ONE_TIME = "315532800"
"""Time of every file (1980-01-01): when a build ran does not show in its layers."""


class Refused(Exception):
    """Why nothing is built; one sentence."""


def main(arguments: Sequence[str] | None = None, root: Path = Path(__file__).parents[1]) -> int:
    """Build; 0 when all is done, 1 where the engine failed, 2 where it was not even tried."""
    told = _parser().parse_args(arguments)
    try:
        if sentences := stale_locks(root):
            raise Refused("; ".join(sentences))
        if told.push and not told.registry:
            raise Refused("to push, say where to, as in REGISTRY=registry.example/team")
        engine, tag = _engine(told.engine), told.tag or _app_version(root)
        names = [f"{told.registry or 'localhost'}/acereason-{part}:{tag}" for part in told.images]
        with tempfile.TemporaryDirectory() as folder:
            common = [*_build(engine), *_labels(root, told.source), *_secrets(Path(folder))]
            for part, name in zip(told.images, names, strict=True):
                _run([*common, *_arguments(told, part), f"--tag={name}", "."], root)
        for name in names if told.push else ():
            _run([engine, "push", name], root)
    except Refused as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as e:
        print(f"error: {e.cmd[0]} {e.cmd[1]} ended with {e.returncode}", file=sys.stderr)
        return 1
    print("pushed:" if told.push else "built:", *names)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make images", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("images", nargs="*", type=_image, default=IMAGES, metavar="IMAGE",
        help="operator, verifier or trainer; default: all three")  # fmt: skip
    add("--registry", help="registry and path before the names; default: localhost")
    add("--tag", help="default: the chart's appVersion")
    add("--push", action="store_true", help="push what was built")
    add("--device", choices=["gpu", "cpu"], default="gpu",
        help="what the trainer's image is for; default: gpu")  # fmt: skip
    add("--engine", choices=ENGINES, help="default: the first of them that is installed")
    add("--base", help="image with Python 3.11 or newer to build on; default: the Containerfile's")
    add("--source", help="address of the source code, for a label; default: git's origin")
    return parser


def _image(name: str) -> str:
    if name not in IMAGES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(IMAGES)}")
    return name


def _engine(asked: str | None) -> str:
    here = [name for name in ([asked] if asked else ENGINES) if shutil.which(name)]
    if not here:
        raise Refused(
            f"{asked or 'buildah, podman or docker'} is needed to build images and is not installed"
            " here; on Debian: apt-get install buildah"
        )
    if here[0] == "docker" and _output(["docker", "info"], Path.cwd()) is None:
        raise Refused("docker's daemon does not answer; start it, or install buildah or podman")
    return here[0]


def _build(engine: str) -> list[str]:
    if engine == "docker":
        return [engine, "build", f"--build-arg=SOURCE_DATE_EPOCH={ONE_TIME}"]
    return [engine, "build", "--layers", "--force-rm", f"--timestamp={ONE_TIME}"]


def _labels(root: Path, source: str | None) -> list[str]:
    """What changes from commit to commit; a Containerfile has the rest."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commit, created = (_output(["git", "log", "-1", f"--format=%{x}"], root) for x in ("H", "cI"))
    edited = "-dirty" if _output(["git", "status", "--porcelain"], root) else ""
    origin = _output(["git", "config", "remote.origin.url"], root) or ""
    labels = {
        "version": project["version"],
        "revision": commit and f"{commit}{edited}",
        "created": created,
        # Only what others can open, and without anybody's password.
        "source": source or (re.sub("//[^/]*@", "//", origin) if "https://" in origin else ""),
    }
    return [f"--label=org.opencontainers.image.{k}={v}" for k, v in labels.items() if v]


def _secrets(folder: Path) -> list[str]:
    settings, certificates = index_settings(os.environ)
    secrets = {"ca.pem": certificates} if certificates else {}
    if settings:
        secrets["pip.conf"] = folder / "pip.conf"
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        secrets["pip.conf"].write_text("".join(["[global]\n", *lines]), encoding="utf-8")
    return [f"--secret=id={name},src={path}" for name, path in secrets.items()]


def _arguments(told: argparse.Namespace, part: str) -> list[str]:
    values = {"BASE": told.base, "DEVICE": told.device if part == "trainer" else None}
    chosen = [f"--build-arg={name}={value}" for name, value in values.items() if value]
    return [*chosen, f"--file=images/{part}/Containerfile"]


def _app_version(root: Path) -> str:
    chart = (root / "charts/acereason-operator/Chart.yaml").read_text(encoding="utf-8")
    found = re.search(r"^appVersion: *([^\s#]+)", chart, re.MULTILINE)
    assert found, "Chart.yaml names appVersion"
    return found[1].strip("\"'")


def _run(command: Sequence[str], root: Path) -> None:
    subprocess.run(command, cwd=root, check=True)


def _output(command: Sequence[str], root: Path) -> str | None:
    """What a command says; None where it fails (no git here, say)."""
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
