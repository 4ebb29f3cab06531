"""The port at which the ranks of one machine meet stays theirs while they import torch."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acereason_trainer.launch import free_port as module
from acereason_trainer.launch.free_port import free_port

LINUX_GIVES_FROM = 32_768
"""Its default: to whoever connects somewhere, or binds to port 0."""
WANTS_ONE = """
import sys
from acereason_trainer.launch import free_port as module
module.PORTS = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
try:
    print(module.free_port(), flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
"""


@contextmanager
def who_wants(port: int, temporary: Path) -> Iterator[str]:
    """What another process gets that asks for a free port and would take but this one; it lives as
    long as the block. temporary: its folder for temporary files."""
    with subprocess.Popen(
        [sys.executable, "-c", WANTS_ONE, str(port)],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()


def test_a_port_is_none_that_the_kernel_gives_to_others() -> None:
    found = {free_port() for _ in range(20)}
    assert max(found) < LINUX_GIVES_FROM
    assert len(found) == 20, "nobody gets one twice"


def test_a_port_that_somebody_has_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(module, "PORTS", range(port, port + 1))
        with pytest.raises(OSError, match=f"none of 100 ports from {port} to {port} is free"):
            free_port()


def test_a_port_that_nobody_listens_at_yet_is_given_to_one_process_at_a_time(
    tmp_path: Path,
) -> None:
    port = free_port()
    with who_wants(port, tmp_path) as first, who_wants(port, tmp_path) as second:
        assert first == str(port)
        assert second == f"none of 100 ports from {port} to {port} is free"
    with who_wants(port, tmp_path) as later:
        assert later == str(port)


def test_a_port_is_found_where_nobody_can_be_told_of_it(tmp_path: Path) -> None:
    (tmp_path / f"acereason-ports-{os.getuid()}").mkdir()  # where a file would be written
    port = free_port()
    with who_wants(port, tmp_path) as given:
        assert given == str(port)
