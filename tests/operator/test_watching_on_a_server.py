"""Kopf's watches with the credentials of a pod, against a real API server."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from acereason_operator.cluster.protocol import RUN, Kind, Object
from acereason_operator.runtime import main, watching
from acereason_operator.runtime.watching import Watches
from kubernetes.aio.config import incluster_config
from operators import FOUR_STAGES, some_settings
from rendering_builders import run_body
from scenarios.roles import NAME, operator_account

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for


@dataclass
class Mounted:
    """What a kubelet mounts into the operator's pod."""

    token: Path
    home: str
    """The pod's namespace."""


@pytest.fixture
def mounted(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mounted:
    """As if this process were the operator's container."""
    home = control_plane.new_namespace("home")
    files = Mounted(tmp_path / "token", home)
    (tmp_path / "namespace").write_text(home)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(files.token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(control_plane.ca_file))
    monkeypatch.setattr(main, "OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(control_plane.ports["kube-apiserver"]))
    return files


@pytest.mark.slow
def test_in_a_pod_the_watches_go_on_when_the_token_is_replaced(
    control_plane: ControlPlane, mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 15 s: for 10 s the API server believes a token whose account is gone."""
    monkeypatch.setattr(watching, "SERVER_TIMEOUT", 1)
    namespace = control_plane.new_namespace()
    mounted.token.write_text(operator_account(control_plane, mounted.home, namespace).token)
    heard: list[str] = []
    tokens: list[str | None] = []

    def hear(kind: Kind, type_: str | None, whole: Object) -> None:
        if kind == RUN:
            heard.append(whole["metadata"]["name"])

    def apply(name: str) -> None:
        path = f"/apis/acereason.dev/v1alpha1/namespaces/{namespace}/acereasonruns"
        body = run_body(name, stages=FOUR_STAGES)
        body["metadata"]["namespace"] = namespace
        control_plane.request("POST", path, body)

    def replace_token() -> None:
        accounts = f"/api/v1/namespaces/{mounted.home}/serviceaccounts"
        control_plane.request("DELETE", f"{accounts}/{NAME}")
        mounted.token.write_text(control_plane.service_account(mounted.home, NAME).token + "\n")

    async def story() -> None:
        login = main.kopf_login(some_settings(namespace=[namespace]))

        async def noted() -> object:
            info = await login()
            tokens.append(info.token)
            return info

        watches = Watches([namespace], hear, noted)  # type: ignore[arg-type]
        watches.start()
        try:
            await asyncio.to_thread(apply, "before")
            await asyncio.to_thread(wait_for, lambda: "before" in heard, "the first run")
            await asyncio.to_thread(replace_token)
            await asyncio.to_thread(wait_for, lambda: len(tokens) == 2, "another login")
            await asyncio.to_thread(apply, "after")
            await asyncio.to_thread(wait_for, lambda: "after" in heard, "the second run")
        finally:
            await watches.stop()

    asyncio.run(story())
    assert tokens[-1] == mounted.token.read_text().strip()
