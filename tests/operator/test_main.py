"""The process itself: how it logs in, and how it ends where it cannot go on."""

import asyncio
from pathlib import Path

import pytest
from acereason_operator.runtime import main
from kubernetes.aio.config import incluster_config
from operators import some_settings


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
