"""What a machine must have to carry a cluster, and what is said where it has not."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.cluster import machine
from tests.left_out import LeftOut


def test_a_user_who_is_not_root_reads_what_is_left_out_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LeftOut, match="are left out: nodes are made by root"):
        machine.make_ready()


def test_a_machine_without_debians_packages_reads_which_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "FOLDERS", str(tmp_path))
    with pytest.raises(LeftOut, match=r"runc, .* are missing, and only Debian's"):
        machine.make_ready()


APT_GET = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$2" in install)
  : > {folder}/ip
  /bin/chmod +x {folder}/ip
esac
"""


def test_debians_packages_that_are_missing_are_named_and_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "busybox").touch(mode=0o755)
    (tmp_path / "apt-get").write_text(APT_GET.format(folder=tmp_path))
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setattr(machine, "PACKAGES", {"iproute2": "ip"})
    monkeypatch.setattr(machine, "FOLDERS", str(tmp_path))
    monkeypatch.setattr(machine, "needs_no_library", lambda _: True)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine.make_ready()
    assert capsys.readouterr().err == "installing Debian packages: iproute2\n"
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--quiet update",
        "--quiet install --yes --no-install-recommends iproute2",
    ]


def test_programs_are_found_where_a_plain_su_does_not_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for program in ("ip", "busybox"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setattr(machine, "PACKAGES", {"iproute2": "ip"})
    monkeypatch.setattr(machine, "FOLDERS", str(tmp_path))
    monkeypatch.setattr(machine, "needs_no_library", lambda _: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nonexistent")
    machine.make_ready()
    assert shutil.which("ip") == str(tmp_path / "ip")


def test_a_busybox_that_needs_libraries_is_not_put_into_an_image_without_any() -> None:
    assert not machine.needs_no_library(Path(sys.executable))
    assert not machine.needs_no_library(Path(__file__))
