"""What `helm test` does: make a run of one small stage, wait until it is complete, take it away;
then ask the verifier, where there is one, whether it is ready.

    tiny_run.py RUN_FILE SECONDS [VERIFIER_URL]

It talks to the API server as its pod's service account does, or as KUBECONFIG says where that is
set, and asks one that is away or busy again. Ends with 0 where the run is complete and the verifier
ready; with 1 where the run failed, which is left there to be looked at, or where all of it took
longer than SECONDS.
"""

import asyncio
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import yaml
from acereason_operator.cluster.api_server import ApiServer
from acereason_operator.cluster.protocol import (
    CLAIM,
    RUN,
    AlreadyExists,
    ClusterError,
    Object,
    Refused,
    Throttled,
    Unreachable,
)

EVERY = 1.0
"""Seconds between two looks."""
ANSWER_SECONDS = 5.0
"""In which a verifier says whether it is ready."""
ROLE_IS_NEW = 60.0
"""Seconds in which an API server may not know the test's Role, which was made right before it."""

Answer = TypeVar("Answer")


async def main(file: Path, patience: float, verifier: str = "") -> int:
    """The exit code. verifier: its address; empty where there is none."""
    run = yaml.safe_load(file.read_text(encoding="utf-8"))
    deadline = time.monotonic() + patience
    async with await _api_server() as api:
        try:
            if wrong := await _tried(api, run, deadline) or await _remove(api, run, deadline):
                print(f"{wrong}. {_advice(run)}", flush=True)
                return 1
        except ClusterError as error:
            print(f"the API server: {error}. {_advice(run)}", flush=True)
            return 1
    print("the run is complete: the operator works, and so does the trainer's image", flush=True)
    return 0 if not verifier or await _is_ready(verifier, deadline) else 1


async def _is_ready(verifier: str, deadline: float) -> bool:
    """Whether the verifier says so, as a stage would reach it; what it says is printed."""
    while True:
        trouble = await asyncio.to_thread(_trouble, f"{verifier}/readyz")
        if not trouble:
            print(f"the verifier at {verifier} is ready", flush=True)
            return True
        if time.monotonic() >= deadline:
            print(
                f"the verifier at {verifier} is not ready: {trouble}. Look at it: kubectl "
                "describe pods -l app.kubernetes.io/component=verifier, in the release's namespace",
                flush=True,
            )
            return False
        await asyncio.sleep(EVERY)


def _trouble(url: str) -> str:
    """What is wrong with it; empty where nothing is. No proxy is asked: stages ask none either."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            with opener.open(url, timeout=ANSWER_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            return error.read(1000).decode(errors="replace").strip() or str(error)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


async def _tried(api: ApiServer, run: Object, deadline: float) -> str:
    """What is wrong, as a sentence without its point; empty where the run is complete."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
    if await _asked(lambda: api.get(RUN, namespace, name), deadline) is not None:
        return "the run of an earlier test is still there"
    await _asked(lambda: _make(api, run), deadline)
    told = ""
    while time.monotonic() < deadline:
        seen = await _asked(lambda: api.get(RUN, namespace, name), deadline)
        if seen is None:
            return "somebody deleted the run"
        status = seen.get("status") or {}
        if (line := f"{namespace}/{name}: {_line(status)}") != told:
            print(line, flush=True)
            told = line
        for condition in status.get("conditions") or ():
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                complete = condition["type"] == "Complete"
                return "" if complete else f"the run failed: {condition.get('message', '')}"
        await asyncio.sleep(EVERY)
    return "the run takes longer than this test may"


async def _make(api: ApiServer, run: Object) -> None:
    """One that is there by now was made by a request whose answer was lost."""
    with suppress(AlreadyExists):
        await api.create(RUN, run)


async def _asked(question: Callable[[], Awaitable[Answer]], deadline: float) -> Answer:
    """What the API server answers; it is asked again, until the deadline, as long as that may help.
    Raises ClusterError."""
    begun, told = time.monotonic(), ""
    while True:
        try:
            return await question()
        except ClusterError as error:
            now = time.monotonic()
            if now >= deadline or not _may_pass(error, now - begun):
                raise
            if (line := f"the API server: {error}; it is asked again") != told:
                print(line, flush=True)
                told = line
            await asyncio.sleep(error.retry_after or EVERY)


def _may_pass(error: ClusterError, seconds: float) -> bool:
    """Whether to ask again after so long: it is away or busy, or does not know the Role yet."""
    if isinstance(error, Refused):
        return error.status == 403 and seconds < ROLE_IS_NEW
    return isinstance(error, Throttled | Unreachable)


def _advice(run: Object) -> str:
    name, where = run["metadata"]["name"], f"-n {run['metadata']['namespace']}"
    return (
        f"Look at it: kubectl describe {where} acereasonrun/{name}\n"
        f"Then remove it: kubectl delete {where} acereasonrun/{name} pvc/{name}"
    )


async def _api_server() -> ApiServer:
    file = os.environ.get("KUBECONFIG")
    return await (ApiServer.from_kubeconfig(Path(file)) if file else ApiServer.from_cluster())


def _line(status: Object) -> str:
    if not status:
        return "no operator has looked at it yet"
    parts = (status.get(name) for name in ("state", "stage", "progress", "message"))
    return ", ".join(str(part) for part in parts if part)


async def _remove(api: ApiServer, run: Object, deadline: float) -> str:
    """The run, which takes its Jobs along, and its volume, which has no owner. Returns when both
    are gone, so that the next test can make them anew; or else what is wrong."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
    for kind in (RUN, CLAIM):
        look = partial(api.get, kind, namespace, name)
        while found := await _asked(look, deadline):
            if "deletionTimestamp" not in found["metadata"]:
                uid = found["metadata"]["uid"]
                remove = partial(api.delete, kind, namespace, name, uid, "Background")
                await _asked(remove, deadline)
            if time.monotonic() >= deadline:
                return f"the run is complete, but its {kind.kind} does not go"
            await asyncio.sleep(EVERY)
    return ""


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])))
