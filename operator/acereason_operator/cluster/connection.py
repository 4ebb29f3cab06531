"""Where the API server is, through which proxy it is reached, and as whom: read once for the
operator's own client and for its watches, so that both go the same way."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import client, config


def of_pod() -> client.Configuration:
    """As a pod's service account; its token is read again every minute. Raises ConfigException."""
    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return _with_proxy(configuration)


async def of_kubeconfig(path: Path | None = None) -> client.Configuration:
    """As the current context of a kubeconfig file (default: kubectl's). Raises ConfigException."""
    configuration = client.Configuration()
    file = str(path) if path is not None else None
    await config.load_kube_config(file, client_configuration=configuration)
    return _with_proxy(configuration)


def _with_proxy(configuration: client.Configuration) -> client.Configuration:
    """The environment is asked for a proxy once, where the kubeconfig names none.

    aiohttp would look there, and for a netrc file, anew with each request and in a thread: a tenth
    of the operator's time. (A netrc file has nothing to say where there is a token.)
    """
    configuration.client_session_kwargs = {"trust_env": False}
    server = urlsplit(configuration.host)
    if configuration.proxy is None and not proxy_bypass(server.hostname or ""):
        configuration.proxy = getproxies().get(server.scheme)
    return configuration
