"""`make images`: what it refuses and how, what it tells an engine, and what it keeps to itself.

An engine of the tests' own stands on the PATH: it notes what it is told and builds nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("images", "pyproject.toml", "requirements.lock", "charts/acereason-operator/Chart.yaml")

ENGINE = """#!/bin/sh
PATH=/usr/bin:/bin
echo "$@" >> {log}
for word in "$@"; do
  case $word in --secret=*) cat "${{word#*src=}}" >> {secrets} ;; esac
done
"""


class Checkout:
    """What `make images` reads of a checkout, with an engine on the PATH or without one."""

    def __init__(self, folder: Path) -> None:
        for name in NEEDED:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
        self.folder, self.programs = folder, folder / "bin"
        self.programs.mkdir()
        self.log, self.secrets = folder / "log", folder / "secrets"

    def install(self, engine: str) -> None:
        path = self.programs / engine
        path.write_text(ENGINE.format(log=self.log, secrets=self.secrets))
        path.chmod(0o755)

    def build(self, *flags: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": f"{self.programs}", "HOME": str(self.folder)} | variables
        return subprocess.run(
            [sys.executable, "-m", "images.build", *flags],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def told(self) -> list[str]:
        """Each call of the engine."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    ("lock", "pin", "instead", "why"),
    [
        ("images/operator/requirements.lock", "kopf==", "kopf==0.1+", "kopf is"),
        ("images/verifier/requirements.lock", "sympy==", "simpy==", "sympy is missing"),
        ("images/trainer/cpu.lock", "torch==", "torch==1.0+", "torch is"),
        ("images/trainer/gpu.lock", "vllm==", "vlm==", "vllm is missing"),
    ],
)
def test_a_stale_lock_is_refused(
    checkout: Checkout, lock: str, pin: str, instead: str, why: str
) -> None:
    checkout.install("buildah")
    path = checkout.folder / lock
    path.write_text(path.read_text().replace(f"\n{pin}", f"\n{instead}"))
    done = checkout.build()
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {lock} is stale ({why}")
    assert done.stderr.endswith("; run: make lock\n")
    assert checkout.told == []


def test_no_lock_names_a_registry() -> None:
    for lock in (ROOT / "images").rglob("*.lock"):
        assert not re.search(r"://|^\s*-", lock.read_text(), re.MULTILINE), lock


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            [],
            "error: buildah, podman or docker is needed to build images and is not",
        ),
        (["--engine=podman"], "error: podman is needed to build images"),
        (["--push"], "error: to push, say where to, as in REGISTRY=registry.example/team"),
        (["operatr"], "operatr is none of operator, verifier, trainer"),
    ],
    ids=["no engine", "not that engine", "where to", "no such image"],
)
def test_what_is_missing_is_said_in_a_sentence(
    checkout: Checkout, flags: list[str], sentence: str
) -> None:
    done = checkout.build(*flags)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_docker_without_its_daemon_is_named(checkout: Checkout) -> None:
    (checkout.programs / "docker").write_text("#!/bin/sh\nexit 1\n")
    (checkout.programs / "docker").chmod(0o755)
    done = checkout.build()
    assert done.returncode == 2
    assert "docker's daemon does not answer" in done.stderr


@pytest.mark.parametrize("engine", ["buildah", "podman", "docker"])
def test_all_three_are_built_then_pushed(checkout: Checkout, engine: str) -> None:
    checkout.install(engine)
    done = checkout.build("--registry=registry.example/team", "--tag=7", "--push", "--device=cpu")
    assert done.returncode == 0, done.stderr
    names = [f"registry.example/team/acereason-{p}:7" for p in ("operator", "verifier", "trainer")]
    calls = [call for call in checkout.told if call != "info"]
    assert [call.split()[0] for call in calls] == ["build"] * 3 + ["push"] * 3
    assert [call.split()[-1] for call in calls[3:]] == names
    for call, name in zip(calls[:3], names, strict=True):
        assert f" --tag={name} ." in call
        assert ("--build-arg=DEVICE=cpu" in call) == ("trainer" in name)


def test_the_tag_is_the_charts_unless_told(checkout: Checkout) -> None:
    checkout.install("buildah")
    checkout.build("verifier")
    chart = (ROOT / "charts/acereason-operator/Chart.yaml").read_text()
    version = chart.split("appVersion:")[1].split()[0]
    assert f"--tag=localhost/acereason-verifier:{version} ." in checkout.told[0]


def test_an_engine_that_fails_is_named(checkout: Checkout) -> None:
    (checkout.programs / "buildah").write_text("#!/bin/sh\nexit 125\n")
    (checkout.programs / "buildah").chmod(0o755)
    done = checkout.build()
    assert (done.returncode, done.stderr) == (1, "error: buildah build ended with 125\n")


def test_the_index_and_its_password_reach_the_build_as_a_secret_alone(checkout: Checkout) -> None:
    checkout.install("buildah")
    certificates = checkout.folder / "ca.crt"
    certificates.write_text("-----BEGIN CERTIFICATE-----\n")
    address = "https://me:password@index.example/simple"
    done = checkout.build(PIP_INDEX_URL=address, SSL_CERT_FILE=str(certificates))
    assert done.returncode == 0, done.stderr
    assert not [call for call in checkout.told if "index.example" in call]
    assert f"index-url = {address}" in checkout.secrets.read_text()
    assert "BEGIN CERTIFICATE" in checkout.secrets.read_text()
    file = checkout.told[0].split("id=pip.conf,src=")[1].split()[0]
    assert not os.path.exists(file)  # noqa: PTH110
