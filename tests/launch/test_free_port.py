"""The port at which the ranks of one machine meet stays theirs while they import torch."""

import socket

import pytest
from acereason_trainer.launch import free_port as module
from acereason_trainer.launch.free_port import free_port

LINUX_GIVES_FROM = 32_768
"""Its default: to whoever connects somewhere, or binds to port 0."""


def test_a_port_is_none_that_the_kernel_gives_to_others() -> None:
    found = {free_port() for _ in range(20)}
    assert max(found) < LINUX_GIVES_FROM
    assert len(found) > 10, "two that ask at the same time are to find two"


def test_a_port_that_somebody_has_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(module, "PORTS", range(port, port + 1))
        with pytest.raises(OSError, match=f"none of 100 ports from {port} to {port} is free"):
            free_port()
