"""The control plane that other tests stand on. Cost: three of its own are started, 6 s each."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import urllib.error
from pathlib import Path

import pytest

from tests.controlplane import marked_processes
from tests.controlplane.cache import cache
from tests.controlplane.control_plane import ORDER, ControlPlane
from tests.controlplane.go_toolchain import PINNED, go_program
from tests.controlplane.lifetimes import (
    private_control_plane,
    remove_abandoned,
    shared_control_plane,
)
from tests.controlplane.programs import CONTROL_PLANE, programs
from tests.waiting import PATIENCE, wait_for

A_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "one"},
    "spec": {
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}
        }
    },
}


def test_a_job_gets_a_pod(control_plane: ControlPlane) -> None:
    namespace = control_plane.new_namespace()
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(A_JOB))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_for(lambda: len(control_plane.request("GET", pods)["items"]) == 1, "the Job's pod")


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(
    control_plane: ControlPlane,
) -> None:
    namespace = control_plane.new_namespace()
    account = control_plane.service_account(namespace, "reader")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        control_plane.request("GET", pods, token=account.token)
    control_plane.kubectl("create", "role", "r", "-n", namespace, "--verb=list", "--resource=pods")
    control_plane.kubectl(
        "create", "rolebinding", "r", "-n", namespace, "--role=r",
        f"--serviceaccount={namespace}:reader",
    )  # fmt: skip
    wait_for(lambda: allowed(control_plane, pods, account.token), "the binding to count")
    assert control_plane.kubectl("get", "pods", kubeconfig=account.kubeconfig) == ""
    with pytest.raises(subprocess.CalledProcessError):
        control_plane.kubectl("get", "secrets", kubeconfig=account.kubeconfig)


def allowed(control_plane: ControlPlane, path: str, token: str) -> bool:
    """Whether a token may read a path. (RBAC learns of a new binding from a watch.)"""
    try:
        control_plane.request("GET", path, token=token)
    except urllib.error.HTTPError as error:
        return error.code != 403
    return True


def test_the_server_tells_the_version_it_is_built_from(control_plane: ControlPlane) -> None:
    told = control_plane.request("GET", "/version")["gitVersion"]
    assert told.startswith("v1.")
    assert "master" not in told


@pytest.mark.usefixtures("control_plane_machine")
def test_an_api_server_can_be_paused_and_stopped_and_comes_back_with_its_objects() -> None:
    with private_control_plane() as own:
        namespace = own.new_namespace()
        own.pause("kube-apiserver")
        with pytest.raises(OSError, match="timed out"):
            own.request("GET", "/version", timeout=1)
        own.go_on("kube-apiserver")
        own.request("GET", "/version")
        own.stop("kube-apiserver")
        with pytest.raises(urllib.error.URLError, match="refused"):
            own.request("GET", "/version")
        own.start("kube-apiserver")
        own.request("GET", f"/api/v1/namespaces/{namespace}")
        folder = own.folder
    assert marked_processes.alive(str(folder)) == []
    assert not folder.exists()


def test_one_user_of_a_shared_one_leaves_it_to_the_others(control_plane: ControlPlane) -> None:
    with shared_control_plane(control_plane.folder.name) as same:
        assert same == control_plane
    control_plane.request("GET", "/version")


@pytest.mark.usefixtures("control_plane_machine")
def test_what_a_crash_left_behind_is_removed_by_whoever_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cache of its own: in the common one, the next may be another worker of this run."""
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, path in programs().items():
        (assets / name).symlink_to(path)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = textwrap.dedent("""
        import os, signal
        from tests.controlplane.lifetimes import private_control_plane
        with private_control_plane() as control_plane:
            print(control_plane.folder, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    crashed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    folder = Path(crashed.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    assert len(marked_processes.alive(str(folder))) == len(ORDER)
    remove_abandoned()
    assert marked_processes.alive(str(folder)) == []
    assert not folder.exists()


@pytest.mark.usefixtures("control_plane_machine")
def test_a_process_without_the_mark_is_let_alone(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep
    ours = marked_processes.start(f"{tmp_path}/a", [sleep, "60"], tmp_path / "log", os.environ)
    others = marked_processes.start(f"{tmp_path}-b", [sleep, "60"], tmp_path / "log", os.environ)
    try:
        marked_processes.send(others, str(tmp_path), signal.SIGKILL)
        marked_processes.kill(str(tmp_path))
        assert marked_processes.alive(f"{tmp_path}/a") == []
        assert marked_processes.alive(f"{tmp_path}-b") == [others]
    finally:
        marked_processes.kill(f"{tmp_path}-b")
    with pytest.raises(ProcessLookupError):
        os.kill(ours, 0)


def test_programs_that_are_given_are_used_and_only_the_others_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (tmp_path / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    found = programs()
    assert {name for name, path in found.items() if path.parent == tmp_path} == {
        "etcd", "kube-apiserver", "kubectl",
    }  # fmt: skip
    assert found["kube-controller-manager"].is_relative_to(cache())
    assert set(found) == set(CONTROL_PLANE.packages)


@pytest.mark.parametrize(
    ("version", "enough"), [("go1.26.8", True), ("go1.27rc1", True), ("go1.25.5", False)]
)
def test_an_old_go_is_not_used(
    version: str, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "bin" / "go"
    pinned = tmp_path / f"go-{PINNED}" / "go" / "bin" / "go"
    for file in (own, pinned):
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\necho {version}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(own.parent), prepend=os.pathsep)
    assert go_program(tmp_path) == (own if enough else pinned)


@pytest.mark.usefixtures("control_plane_machine")
def test_the_command_prints_how_to_talk_to_it_and_ends_on_ctrl_c() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "tests.controlplane"],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert command.stdout
    with command.stdout:
        kubeconfig = Path(command.stdout.readline().removeprefix("kubeconfig: ").strip())
        tried = command.stdout.readline().removeprefix("try: ").split()
        assert "The recipe." in subprocess.run(
            tried, capture_output=True, text=True, check=True
        ).stdout  # fmt: skip
        command.send_signal(signal.SIGINT)
        assert command.wait(PATIENCE) == 0
    assert not kubeconfig.exists()
