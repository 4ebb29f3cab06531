"""The process itself: how it logs in, and how it ends where it cannot go on."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from acereason_operator.runtime import kubeconfig, main
from kubernetes.aio.config import incluster_config
from operators import a_kubeconfig, some_settings

from tests.waiting import PATIENCE


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


def test_the_watches_go_the_way_that_the_client_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy that the kubeconfig or the environment names, to a server by another name."""
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = a_kubeconfig(tmp_path, "http://10.0.0.1:6443")
    login = main.kopf_login(some_settings(kubeconfig=file))
    assert asyncio.run(login()).proxy_url is None
    monkeypatch.setenv("http_proxy", "http://of-the-environment:3128")
    assert asyncio.run(login()).proxy_url == "http://of-the-environment:3128"
    said = json.loads(file.read_text())
    said["clusters"][0]["cluster"] |= {
        "proxy-url": "http://of-the-file:3128",
        "tls-server-name": "kubernetes",
    }
    file.write_text(json.dumps(said))
    to = asyncio.run(login())
    assert to.proxy_url == "http://of-the-file:3128"
    wrapped = to.as_ssl_context().wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=False, server_hostname="10.0.0.1"
    )
    assert wrapped.server_hostname == "kubernetes"


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
            timeout=PATIENCE,
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
            timeout=PATIENCE,
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
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert f"{file}" in said
    assert "does not exist" in said
    assert "--kubeconfig" in said


NO_KUBECONFIG = {
    "broken YAML": b"clusters: [",
    "a list": b"- name: c",
    "plain text": b"see the wiki",
    "nothing": b"",
    "no text": b"\xff\xfe\x00\x01",
    "clusters that are no list": b"clusters: {c: {}}",
    "an entry without a name": b"contexts: [{context: {}}]",
    "an entry that holds nothing": b"clusters: [{name: c, cluster: https://10.0.0.1}]",
}


@pytest.mark.parametrize("given", [True, False], ids=["a flag", "kubectl's own"])
@pytest.mark.parametrize("content", NO_KUBECONFIG.values(), ids=NO_KUBECONFIG.keys())
def test_a_file_that_is_no_kubeconfig_is_named_in_a_sentence(
    content: bytes,
    given: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    monkeypatch.setattr(kubeconfig, "KUBE_CONFIG_DEFAULT_LOCATION", f"{tmp_path / 'no'}:{file}")
    monkeypatch.setattr(main, "OWN_NAMESPACE", tmp_path / "no-pod")
    words = ["--trainer-image", "t", "--prepare-image", "p"]
    assert main.main([*words, *(("--kubeconfig", str(file)) if given else ())]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    where = "--kubeconfig" if given else "KUBECONFIG"
    assert said.startswith(f"acereason-operator: {where}: {file} is not a kubeconfig (")


def test_a_folder_is_no_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trainer-image", "t", "--prepare-image", "p", "--kubeconfig", str(tmp_path)]
    assert main.main(words) == 2
    assert f"{tmp_path} is not a kubeconfig ([Errno 21]" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", "clusters: []\ncurrent-context: c"])
def test_a_kubeconfig_that_names_no_server_is_told_by_the_client(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    words = ["--trainer-image", "t", "--prepare-image", "p", "--kubeconfig", str(file)]
    assert main.main(words) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "Invalid kube-config file. Expected" in said
