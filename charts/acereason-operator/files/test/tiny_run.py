"""What `helm test` does: make a run of one small stage, wait until it is complete, take it away.

    tiny_run.py RUN_FILE SECONDS

It talks to the API server as its pod's service account does, or as KUBECONFIG says where that is
set. Ends with 0 where the run is complete; with 1 where it failed or took longer than SECONDS, and
then leaves it there to be looked at.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import yaml
from acereason_operator.cluster.api_server import ApiServer
from acereason_operator.cluster.protocol import CLAIM, RUN, ClusterError, Object

EVERY = 1.0
"""Seconds between two looks."""


async def main(file: Path, patience: float) -> int:
    """The exit code."""
    run = yaml.safe_load(file.read_text(encoding="utf-8"))
    deadline = time.monotonic() + patience
    async with await _api_server() as api:
        try:
            if wrong := await _tried(api, run, deadline):
                print(f"{wrong}. {_advice(run)}", flush=True)
                return 1
            await _remove(api, run, deadline)
        except ClusterError as error:
            print(f"the API server: {error}. {_advice(run)}", flush=True)
            return 1
    print("the run is complete: the operator works, and so do the images", flush=True)
    return 0


async def _tried(api: ApiServer, run: Object, deadline: float) -> str:
    """What is wrong, as a sentence without its point; empty where the run is complete."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
    if await api.get(RUN, namespace, name) is not None:
        return "the run of an earlier test is still there"
    await api.create(RUN, run)
    told = ""
    while time.monotonic() < deadline:
        seen = await api.get(RUN, namespace, name)
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


async def _remove(api: ApiServer, run: Object, deadline: float) -> None:
    """The run, which takes its Jobs along, and its volume, which has no owner. Returns when both
    are gone, so that the next test can make them anew."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
    for kind in (RUN, CLAIM):
        found = await api.get(kind, namespace, name)
        if found is not None:
            await api.delete(kind, namespace, name, found["metadata"]["uid"], "Background")
        while await api.get(kind, namespace, name) is not None and time.monotonic() < deadline:
            await asyncio.sleep(EVERY)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]))))
