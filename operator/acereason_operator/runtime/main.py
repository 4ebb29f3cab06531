"""`acereason-operator`: the process that a cluster runs."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

import kopf
from kubernetes.aio import client, config

from acereason_operator.cluster import connection
from acereason_operator.cluster.api_server import ApiServer
from acereason_operator.runtime import kubeconfig
from acereason_operator.runtime.metrics import Metrics
from acereason_operator.runtime.operator import Operator
from acereason_operator.runtime.settings import Settings, WrongSettings, read_settings
from acereason_operator.runtime.watching import Login, NamedServer, Watches

_log = logging.getLogger(__name__)

FAILED = 1
MISUSED = 2
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def main(words: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; returns the process's exit code."""
    try:
        settings = read_settings(sys.argv[1:] if words is None else words, os.environ)
    except WrongSettings as wrong:
        print(f"acereason-operator: {wrong}", file=sys.stderr)
        return MISUSED
    if not _is_pod(settings) and (wrong_file := kubeconfig.problem(settings.kubeconfig)):
        print(f"acereason-operator: {wrong_file}", file=sys.stderr)
        return MISUSED
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return asyncio.run(run(settings))
    except (OSError, config.ConfigException) as error:
        print(f"acereason-operator: {error}", file=sys.stderr)
        return FAILED


async def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, or until the operator cannot go on; returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with (
        await _api_server(settings, metrics) as api,
        await _api_server(settings, metrics) as lease_api,
    ):
        identity = f"{socket.gethostname()}_{token_hex(4)}"
        operator = Operator(settings, api, lease_api, identity, _lease_namespace(settings), metrics)
        watches = Watches(settings.namespace, operator.hear, kopf_login(settings))
        starting = asyncio.create_task(operator.start())
        ends = [asyncio.create_task(event.wait()) for event in (stop, operator.failed)]
        await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            watches.start()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in (starting, *ends):
            task.cancel()
        _log.info("ends: running reconciles are finished, the Lease is given back")
        try:
            await operator.stop()
        finally:
            await watches.stop()
    return FAILED if operator.failed.is_set() else 0


def _is_pod(settings: Settings) -> bool:
    """Whether the pod's service account is to be used."""
    return settings.kubeconfig is None and OWN_NAMESPACE.exists()


async def _api_server(settings: Settings, metrics: Metrics) -> ApiServer:
    def counted(verb: str, code: str) -> None:
        metrics.requests.labels(verb, code).inc()

    return ApiServer(client.ApiClient(await _configuration(settings)), counted)


async def _configuration(settings: Settings) -> client.Configuration:
    if _is_pod(settings):
        return connection.of_pod()
    return await connection.of_kubeconfig(settings.kubeconfig)


def _lease_namespace(settings: Settings) -> str:
    if settings.lease_namespace is not None:
        return settings.lease_namespace
    if OWN_NAMESPACE.exists():
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    return settings.namespace[0] if len(settings.namespace) == 1 else "default"


def kopf_login(settings: Settings) -> Login:
    """Kopf's credentials, read as those of the operator's own client are. Asked for again when the
    server refuses them: a service account's token is replaced in its file every hour."""

    async def login() -> kopf.ConnectionInfo:
        configuration = await _configuration(settings)
        bearer = (await configuration.get_api_key_with_prefix("BearerToken") or "").split()
        return NamedServer(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=bearer[-1] if bearer else None,
            proxy_url=configuration.proxy,
            tls_server_name=configuration.tls_server_name,
        )

    return login
