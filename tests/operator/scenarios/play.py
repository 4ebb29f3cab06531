"""All scenarios at the same time: one API server, one operator, a namespace for each.

A scenario mostly waits (for a settling window, for the Job controller), so sixty take little longer
than one: 2 minutes in all. With several workers of pytest, the first that needs an outcome plays
for all of them.
"""

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from acereason_operator.cluster.api_server import path_of
from acereason_operator.cluster.protocol import EVENT, LEASE, NETWORK_POLICY, SERVICE, Object
from scenarios import audit
from scenarios.hasty_operator import hasty_operator
from scenarios.kubelets import Kubelets
from scenarios.live_api import LiveApi, live_api
from scenarios.roles import operator_account
from scenarios.scene import Scene

from tests.controlplane.cache import locked
from tests.controlplane.lifetimes import private_control_plane

Scenario = Callable[[Scene], Awaitable[None]]

LONGEST = 400.0
"""Seconds for one scenario: 90 are usual for the longest, which waits for the cluster's garbage
collector; a busy machine takes a multiple."""
NO_HEARTBEATS = {"kube-controller-manager": ["--node-monitor-grace-period=24h"]}
"""Our nodes are played and send none: they stay as they are told to be."""


@dataclass
class Outcomes:
    """What came of a play."""

    failures: dict[str, str] = field(default_factory=dict)
    """By scenario: what went wrong; empty where nothing did."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(group, resource, verb) of every kind of request that the operator made."""
    refused: list[str] = field(default_factory=list)
    """Requests that it was not allowed to make."""
    with_kopf: list[str] = field(default_factory=list)
    """Objects with anything of Kopf's on them."""
    quiet: dict[str, list[str]] = field(default_factory=dict)
    """Requests while there was nothing to do, by scenario that has had such a time."""
    shown: dict[str, str] = field(default_factory=dict)
    """What kubectl printed, by the name that a scenario gave it."""
    whole: bool = True
    """Whether no scenario was left out."""
    operator: str = ""
    """Why the operator did not run and end in peace."""


def outcomes(scenarios: Mapping[str, Scenario], folder: Path, *, whole: bool) -> Outcomes:
    """Of these scenarios; whoever comes second to a folder reads what the first one found. whole:
    whether they are all there are."""
    file = folder / "outcomes.json"
    with locked(folder / "outcomes.lock"):
        if not file.exists():
            found = asyncio.run(_played(scenarios, folder))
            found.whole = whole
            file.write_text(json.dumps(asdict(found)))
    data = json.loads(file.read_text())
    data["requests"] = [tuple(entry) for entry in data["requests"]]
    return Outcomes(**data)


async def _played(scenarios: Mapping[str, Scenario], folder: Path) -> Outcomes:
    found = Outcomes()
    scenes: dict[str, Scene] = {}
    with private_control_plane(audit.flags(folder) | NO_HEARTBEATS) as control_plane:
        home = control_plane.new_namespace("home")
        account = operator_account(control_plane, home)
        try:
            async with AsyncExitStack() as stack:
                api = await stack.enter_async_context(live_api(control_plane))
                kubelets = await stack.enter_async_context(Kubelets(api))
                await stack.enter_async_context(
                    hasty_operator(account, home, folder / "operator.log", kubelets.port)
                )
                for name in scenarios:
                    namespace = await asyncio.to_thread(control_plane.new_namespace, "research")
                    scenes[name] = Scene(namespace, api, kubelets, folder)
                ends = await asyncio.gather(
                    *(_one(play, scenes[name]) for name, play in scenarios.items())
                )
                found.failures = dict(zip(scenarios, ends, strict=True))
                found.with_kopf = api.with_kopf + await _others_with_kopf(api)
        except Exception:  # noqa: BLE001 told by a test of its own
            found.operator = traceback.format_exc()
    asked = list(audit.requests(folder))
    found.requests = sorted({(r.group, r.resource, r.verb) for r in asked if r.resource})
    found.refused = [str(r) for r in asked if not r.allowed]
    for name, scene in scenes.items():
        found.shown |= scene.shown
        for begin, end in scene.quiet:
            found.quiet[name] = [
                str(request)
                for request in asked
                if request.namespace == scene.namespace and begin <= request.at <= end
            ]
    return found


async def _one(play: Scenario, scene: Scene) -> str:
    try:
        async with asyncio.timeout(LONGEST):
            await play(scene)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 told by its own test
        return traceback.format_exc()
    return ""


async def _others_with_kopf(api: LiveApi) -> list[str]:
    """Of the kinds that are not watched."""
    found: list[Object] = []
    for kind in (EVENT, LEASE, NETWORK_POLICY, SERVICE):
        found += (await api.call("GET", path_of(kind, None)))["items"]
    return [json.dumps(body) for body in found if "kopf" in json.dumps(body)]
