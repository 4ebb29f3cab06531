"""A skipped test is a failure on continuous integration, with its reason; what a machine cannot
carry skips the tests that need it, and no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.python_path import python_path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPING = {
    "a test": "import pytest\n\ndef test_a():\n    pytest.skip('no go here')\n",
    "a mark": "import pytest\n\n@pytest.mark.skip(reason='no go here')\ndef test_a():\n    pass\n",
    "a module": "import pytest\n\npytest.skip('no go here', allow_module_level=True)\n",
}
PASSING = "\n\ndef test_b():\n    pass\n"


def run(
    directory: Path, text: str, *, ci: str, workers: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file with the suite's own rules."""
    shutil.copy(CONFTEST, directory)
    (directory / "test_it.py").write_text(text)
    (directory / "test_other.py").write_text(PASSING)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "-n", workers]
    return subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"CI": ci, "PYTHONPATH": python_path(CONFTEST.parents[1])} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("what", "workers"), [("a test", "0"), ("a mark", "1"), ("a module", "0")])
def test_a_skip_fails_with_its_reason_under_ci(tmp_path: Path, what: str, workers: str) -> None:
    result = run(tmp_path, SKIPPING[what], ci="true", workers=workers)
    assert result.returncode == 1, result.stdout
    assert "each counts as a failure" in result.stdout
    assert "no go here" in result.stdout


def test_a_skip_passes_at_home(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPPING["a test"], ci="", workers="0").returncode == 0


def test_a_suite_without_skips_passes_under_ci(tmp_path: Path) -> None:
    assert run(tmp_path, PASSING, ci="true", workers="0").returncode == 0


NEEDING = """
import os, sys
{machine}

def test_an_api_server(control_plane): pass
def test_the_images(images): pass
def test_nodes(cluster_machine): pass
"""
PROGRAMS = {
    "go": 'test "$1" = env && echo go1.99.0 && exit; echo "no space left on device" >&2; exit 1',
    "buildah": "echo \"'overlay' is not supported over overlayfs\" >&2; exit 125",
    "debootstrap": "exit 1",
}
"""Programs of a machine that cannot build anything."""


def without_builds(folder: Path) -> dict[str, str]:
    """The environment of such a machine: an empty cache, and programs that fail."""
    for name, script in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\necho tried >> {folder}/{name}.tried\n{script}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "KUBEBUILDER_ASSETS": ""}


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_machine_that_cannot_build_leaves_out_what_needs_that_and_runs_the_rest(
    tmp_path: Path, ci: str, code: int
) -> None:
    root = "os.geteuid = lambda: 0"
    (tmp_path / "bin").mkdir()
    result = run(
        tmp_path,
        NEEDING.format(machine=root).replace("def test_nodes(cluster_machine): pass\n", ""),
        ci=ci,
        workers="0",
        **without_builds(tmp_path / "bin"),
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "1 passed, 2 skipped" in result.stdout
    told = " ".join(result.stdout.split())
    assert "kube-controller-manager, kubectl are left out: `" in told
    assert "go build" in told and "no space left on device" in told
    assert "the images cannot be built here: `buildah images" in told
    assert "'overlay' is not supported over overlayfs" in told
    tries = (tmp_path / "bin" / "buildah.tried").read_text().count("tried")
    assert tries == 1, "each try can take minutes"


def test_a_machine_that_is_no_linux_reads_what_is_left_out_and_why(tmp_path: Path) -> None:
    elsewhere = (
        "import platform; sys.platform = 'darwin'; platform.system = lambda: 'Darwin'\n"
        "os.geteuid = lambda: 501"
    )
    text = NEEDING.format(machine=elsewhere)
    result = run(tmp_path, text, ci="", workers="0", **without_builds(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed, 3 skipped" in result.stdout
    for why in (
        "the tests on an API server and `make controlplane` are left out: its processes are",
        "the tests of images and those on a real cluster are left out: images are built by root",
        "the tests on a real cluster and `make cluster` are left out: nodes need Linux",
    ):
        assert why in result.stdout
