"""What there is of a cluster on this machine, and how the machine is set."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from tests.cluster import network
from tests.cluster.cluster import NODES
from tests.cluster.lifetime import STATE
from tests.cluster.node import cgroup
from tests.controlplane import marked_processes

SLEEP = "1234567"
"""Seconds that a sleeper sleeps, by which its process is known."""


@dataclass(frozen=True)
class Traces:
    """What there is of a cluster on this machine, and how the machine is set."""

    processes: Sequence[int]
    sleepers: Sequence[int]
    mounts: Sequence[str]
    rules: Sequence[str]
    links: Sequence[str]
    cgroups: Sequence[Path]
    sockets: Sequence[Path]
    folders: Sequence[Path]
    settings: Sequence[str]

    @classmethod
    def now(cls) -> Self:
        """As they are."""
        mounts = Path("/proc/self/mounts").read_text().split()
        rules = [
            line
            for program in ("iptables-save", "ip6tables-save")
            for line in output(program).splitlines()
            if "KUBE-" in line or network.DEVICE in line
        ]
        links = [link["ifname"] for link in json.loads(output("ip", "-json", "link"))]
        # os.walk, unlike glob, goes on where a cgroup is removed under its eyes.
        groups = [Path(path) for path, _, _ in os.walk("/sys/fs/cgroup")]
        of_nodes = {cgroup(node) for node in NODES}
        return cls(
            marked_processes.alive(str(STATE)),
            sleepers(),
            [mount for mount in mounts if mount.startswith(f"{STATE}/")],
            rules,
            [link for link in links if link.startswith((network.DEVICE, "veth"))],
            [group for group in groups if group.name in of_nodes],
            list(Path("/run/containerd/s").glob("*")),
            [*STATE.glob("running"), *Path("/var/lib/cni/results").glob("*")],
            [
                f"{name} = {Path('/proc/sys', name).read_text().strip()}"
                for name in ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic")
            ],
        )

    def since(self, before: Self) -> Mapping[str, Sequence[Any]]:
        """What is here and was not before, by its kind; empty where there is nothing of the sort.
        (Others, with devices and sockets of the same kinds, may end theirs at any time.)"""
        kinds = [field.name for field in fields(self)]
        new = {
            kind: [found for found in getattr(self, kind) if found not in getattr(before, kind)]
            for kind in kinds
        }
        return {kind: found for kind, found in new.items() if found}


def sleepers() -> list[int]:
    """Process numbers of the containers of sleepers, as this machine sees them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if SLEEP.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
