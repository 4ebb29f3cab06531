"""`make setup` on a machine that lacks something says what, and what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYTHONS = {
    "Debian's own": (
        "sys.modules['ensurepip'] = None",
        "comes without venv; on Debian and Ubuntu: apt install python3-venv",
    ),
    "an old one": (
        "sys.version_info = (3, 10, 4)",
        "Python 3.11 or newer is needed: make PYTHON=python3.12 setup",
    ),
}


@pytest.mark.parametrize("which", PYTHONS)
def test_a_python_that_will_not_do_is_refused_before_anything_is_made(
    tmp_path: Path, which: str
) -> None:
    change, sentence = PYTHONS[which]
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{change}\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", f"PYTHON={python}", "setup"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_machine_that_is_no_linux_is_told_what_to_use(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (tmp_path / "uname").chmod(0o755)
    done = subprocess.run(
        ["make", "setup"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs Linux (processes, sandbox, clusters), and this is Darwin: use a" in done.stderr
    assert not (tmp_path / ".venv").exists()
