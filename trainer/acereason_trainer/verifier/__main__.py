"""The command `acereason-verifier`: serve until SIGTERM, then finish what was accepted."""

import asyncio
import logging
import os
import signal
import sys

from aiohttp import web
from prometheus_client import disable_created_metrics

from acereason_trainer.stage import StageFailure
from acereason_trainer.verifier.app import make_app
from acereason_trainer.verifier.meters import Meters
from acereason_trainer.verifier.service import Service
from acereason_trainer.verifier.settings import BadSettings, Settings, read_settings

_log = logging.getLogger("acereason-verifier")


def main(arguments: list[str] | None = None) -> int:
    """Serve; 0 after a stop on request, 1 where it cannot start, 2 for a wrong setting."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr
    )
    try:
        settings = read_settings(arguments, os.environ)
    except BadSettings as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(settings))
    except (OSError, StageFailure) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError for a port that cannot be had, StageFailure
    where no worker can be started."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    meters = Meters()
    service = Service(settings, meters)
    runner = web.AppRunner(
        make_app(service, meters, settings.body_mib << 20),
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=2.0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        await service.start()
        _log.info("ready on http://%s:%d", host, port)
        await stop.wait()
        _log.info("stopping: what was accepted is graded for up to %g s", settings.grace_seconds)
        finished = await service.drain(settings.grace_seconds)
        _log.info("done" if finished else "the grace period is over: the rest is dropped")
    finally:
        await runner.cleanup()
        await service.close()


if __name__ == "__main__":
    sys.exit(main())
