"""The operator as a process with short waits, under the roles that the chart installs."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.controlplane.control_plane import Account
from tests.waiting import PATIENCE

WAITS = {"settling": "5s", "first-backoff": "100ms", "progress-seconds": "1"}


@asynccontextmanager
async def hasty_operator(
    account: Account, home: str, log: Path, metrics_port: int, *words: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ends in peace, with 0 and without a traceback. home: its own namespace. metrics_port: where
    rank 0 serves."""
    waits = [word for name, wait in WAITS.items() for word in (f"--{name}", wait)]
    with log.open("wb") as out:
        operator = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "acereason_operator.runtime"),
            *("--kubeconfig", str(account.kubeconfig), "--lease-namespace", home),
            *("--trainer-image", "trainer:1", "--prepare-image", "operator:1"),
            *("--probe-host", "127.0.0.1", "--probe-port", "0"),
            *("--metrics-port", str(metrics_port), *waits, *words),
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield operator
        assert operator.returncode is None, log.read_text()
        operator.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await operator.wait() == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        if operator.returncode is None:
            operator.kill()
            await operator.wait()
