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
from secrets import token_hex

import yaml
from acereason_operator.cluster.api_server import ApiServer
from acereason_operator.cluster.protocol import CLAIM, RUN, ClusterError, Object

EVERY = 1.0
"""Seconds between two looks."""


async def main(file: Path, patience: float) -> int:
    """The exit code."""
    run = yaml.safe_load(file.read_text(encoding="utf-8"))
    name = f"{run['metadata']['name']}-{token_hex(3)}"
    run["metadata"]["name"] = run["spec"]["storage"]["claimTemplate"]["name"] = name
    async with await _api_server() as api:
        try:
            await api.create(RUN, run)
            end = await _ended(api, run, patience)
            if end == "Complete":
                await _remove(api, run)
        except ClusterError as error:
            print(f"the API server: {error}", flush=True)
            return 1
    if end == "Complete":
        print("the run is complete: the operator works, and so do the images")
        return 0
    where = f"-n {run['metadata']['namespace']}"
    print(
        f"the run {end}. Look at it: kubectl describe {where} arr/{name}\n"
        f"Then remove it: kubectl delete {where} arr/{name} pvc/{name}",
        flush=True,
    )
    return 1


async def _api_server() -> ApiServer:
    file = os.environ.get("KUBECONFIG")
    return await (ApiServer.from_kubeconfig(Path(file)) if file else ApiServer.from_cluster())


async def _ended(api: ApiServer, run: Object, patience: float) -> str:
    """`Complete`, or the rest of the sentence "the run ..."; tells what it sees meanwhile."""
    place = run["metadata"]["namespace"], run["metadata"]["name"]
    deadline, told = time.monotonic() + patience, ""
    while time.monotonic() < deadline:
        seen = await api.get(RUN, *place)
        if seen is None:
            return "is gone: somebody deleted it"
        status = seen.get("status") or {}
        line = f"{'/'.join(place)}: {_line(status)}"
        if line != told:
            print(line, flush=True)
            told = line
        for condition in status.get("conditions") or ():
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                failed = f"failed: {condition.get('message', '')}"
                return "Complete" if condition["type"] == "Complete" else failed
        await asyncio.sleep(EVERY)
    return f"was not complete after {patience:g} s"


def _line(status: Object) -> str:
    if not status:
        return "no operator has looked at it yet"
    parts = (status.get(name) for name in ("state", "stage", "progress", "message"))
    return ", ".join(str(part) for part in parts if part)


async def _remove(api: ApiServer, run: Object) -> None:
    """The run, which takes its Jobs along, and its volume, which has no owner."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]
    for kind in (RUN, CLAIM):
        found = await api.get(kind, namespace, name)
        if found is not None:
            await api.delete(kind, namespace, name, found["metadata"]["uid"], "Background")


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]))))
