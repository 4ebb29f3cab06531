"""Each peer has an environment of its own, made under build/ from a file of pinned requirements.

No two of them share a lock with us or with each other (sympy, numpy and antlr are pinned apart).
"""

import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
BUILD = Path("build/bench/peers")


def environment(name: str, build: Path = BUILD) -> Path:
    """The interpreter of a peer's environment; made where its requirements are not installed yet.

    Raises CalledProcessError where a package cannot be installed.
    """
    wanted = (HERE / f"{name}.txt").read_text()
    root = (build / name).absolute()
    python, stamp = root / "bin" / "python", root / "installed.txt"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"making {root}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(root)], check=True)
        _install(python, HERE / f"{name}.txt")
        stamp.write_text(wanted)
    return python


def source(name: str, package: str, build: Path = BUILD) -> Path:
    """The unpacked source distribution of a package that a peer's requirements pin.

    Raises CalledProcessError where it cannot be fetched.
    """
    lines = (HERE / f"{name}.txt").read_text().splitlines()
    pinned = next(line for line in lines if line.startswith(f"{package}=="))
    folder = (build / f"{pinned.replace('==', '-')}-source").absolute()
    if not folder.exists():
        fetched = folder.with_name(folder.name + ".fetched")
        options = ["--no-deps", "--no-binary", package, "--dest", str(fetched)]
        _pip(environment(name, build), "download", *options, pinned)
        with tarfile.open(next(fetched.glob("*.tar.gz"))) as archive:
            archive.extractall(fetched, filter="data")
        next(p for p in fetched.iterdir() if p.is_dir()).rename(folder)
    return folder


def bare_python() -> Path:
    """The interpreter below this environment: no packages of ours slow its start."""
    return Path(getattr(sys, "_base_executable", sys.executable))


def _install(python: Path, requirements: Path) -> None:
    """By uv where `make setup` put it: it links what is in its cache, and torch is gigabytes."""
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        command = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*command, "--no-deps", "--requirement", str(requirements)], check=True)
    else:
        _pip(python, "install", "--no-deps", "--requirement", str(requirements))


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)
