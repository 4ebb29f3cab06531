"""The process itself: how it logs in, and how it ends where it cannot go on."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from acereason_operator.runtime import main
from kubernetes.aio.config import incluster_config
from operators import a_kubeconfig, some_settings


@pytest.mark.parametrize("ending", ["", "\n"])
def test_in_a_pod_the_watches_send_the_token_that_stands_in_its_file(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"token": f"first{ending}", "ca.crt": "x", "namespace": "home"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(main, "OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    login = main.kopf_login(some_settings())
    first = asyncio.run(login())
    assert first.as_http_headers() == {"Authorization": "Bearer first"}
    assert first.server == "https://10.0.0.1:443"
    (tmp_path / "token").write_text(f"second{ending}")
    assert asyncio.run(login()).as_http_headers() == {"Authorization": "Bearer second"}


class OddServer(BaseHTTPRequestHandler):
    """Lists nothing, and has a Lease without metadata, as no API server has."""

    def do_GET(self) -> None:
        empty_list = {"metadata": {"resourceVersion": "1"}, "items": []}
        body = json.dumps({} if "/leases/" in self.path else empty_list).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_fault_in_the_background_ends_the_process_with_1(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OddServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = a_kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "acereason_operator.runtime"),
                *("--kubeconfig", str(config), "--probe-port", "0"),
                *("--trainer-image", "t", "--prepare-image", "p"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        server.shutdown()
    assert done.returncode == 1, done.stderr
    assert "a fault of the operator ended its election" in done.stderr
    assert "the Lease is given back" in done.stderr


def test_a_port_of_the_probes_that_is_taken_is_named_by_its_flag(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = a_kubeconfig(tmp_path, "http://127.0.0.1:9")
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [
                *(sys.executable, "-m", "acereason_operator.runtime"),
                *("--trainer-image", "t", "--prepare-image", "p", "--kubeconfig", str(config)),
                *("--probe-host", "127.0.0.1", "--probe-port", port),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert "acereason-operator: --probe-host, --probe-port: " in done.stderr
    assert f"{port}" in done.stderr
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", [True, False], ids=["a flag", "kubectl's own"])
def test_a_kubeconfig_that_does_not_exist_is_named(given: bool, tmp_path: Path) -> None:
    """And nothing else is said."""
    file = tmp_path / "nowhere"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "acereason_operator.runtime"),
            *("--trainer-image", "t", "--prepare-image", "p"),
            *(("--kubeconfig", str(file)) if given else ()),
        ],
        env=os.environ | {"KUBECONFIG": str(file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert f"{file}" in said
    assert "does not exist" in said
    assert "--kubeconfig" in said
