"""The addresses of a cluster, and what it changes in the machine's network and kernel settings.

One device holds an address for the control plane and one for each node. A pod has a pair of devices
of its own (the plugin ptp), and everything is routed: on a bridge, what a Service's pod answers to
a pod beside it would bypass the translation of addresses.
"""

import ipaddress
import json
import subprocess
from pathlib import Path

from tests.left_out import LeftOut

DEVICE = "acereason"
RANGE = "10.213.0.0/16"
CONTROL_PLANE_ADDRESS = "10.213.0.1"

_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    # The kubelet sets these.
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_RULES = (
    ("nat", "POSTROUTING", f"-s {RANGE} ! -d {RANGE} -j MASQUERADE"),
    # Beside a Docker, forwarding is refused unless somebody allows it.
    ("filter", "FORWARD", f"-s {RANGE} -j ACCEPT"),
    ("filter", "FORWARD", f"-d {RANGE} -j ACCEPT"),
)
_OURS = ("KUBE-", DEVICE)
"""What a rule or chain of iptables names if it is kube-proxy's or ours."""


class Taken(LeftOut):
    """The machine's network already has what a cluster would make."""


def subnet(node: int) -> str:
    """Addresses of the pods of node 1, 2, ..."""
    return f"10.213.{node}.0/24"


def address(node: int) -> str:
    """Of the node itself; its pods' gateway."""
    return f"10.213.{node}.1"


def refuse_what_is_taken() -> None:
    """Raises Taken where another cluster or network uses what this one needs."""
    if "KUBE-SERVICES" in _output("iptables-save", "-t", "nat"):
        raise Taken(
            "another Kubernetes runs on this machine (iptables has the chain KUBE-SERVICES), and "
            "ending our cluster would end its Services; use a machine without one"
        )
    ours = ipaddress.IPv4Network(RANGE)
    for route in json.loads(_output("ip", "-json", "-4", "route", "show") or "[]"):
        if route["dst"] != "default" and ipaddress.IPv4Network(route["dst"]).subnet_of(ours):
            raise Taken(
                f"the cluster needs the addresses {RANGE}, and this machine routes "
                f"{route['dst']} to {route.get('dev', 'elsewhere')}; take that route away"
            )


def connect(folder: Path, nodes: int) -> None:
    """Make the device, its addresses, the rules; `folder` keeps the settings as they were."""
    settings = {name: _setting(name).read_text().strip() for name in _SETTINGS}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    # Of type bridge, since any kernel that runs containers has it; nothing is ever plugged in.
    _ip("link", "add", DEVICE, "type", "bridge")
    for own in (CONTROL_PLANE_ADDRESS, *(address(n) for n in range(1, nodes + 1))):
        _ip("address", "add", f"{own}/32", "dev", DEVICE)
    _ip("link", "set", DEVICE, "up")
    _setting("net/ipv4/ip_forward").write_text("1")
    for table, chain, rule in _RULES:
        command = f"iptables -w -t {table} -I {chain} -m comment --comment {DEVICE} {rule}"
        subprocess.run(command.split(), check=True, capture_output=True, text=True)


def disconnect(folder: Path) -> None:
    """Undo `connect` and what kube-proxy added, as far as any of it is there."""
    for program in ("iptables", "ip6tables"):
        _remove_rules(program)
    if Path("/sys/class/net", DEVICE).exists():
        _ip("link", "delete", DEVICE)
    kept = folder / "settings.json"
    if kept.exists():
        for name, value in json.loads(kept.read_text(encoding="utf-8")).items():
            if _setting(name).read_text().strip() != value:
                _setting(name).write_text(value)


def _remove_rules(program: str) -> None:
    for table in ("nat", "filter", "mangle"):
        before = _output(f"{program}-save", "-t", table).splitlines()
        after = [line for line in before if not any(mark in line for mark in _OURS)]
        if after != before:
            subprocess.run(
                [f"{program}-restore", "-w", "-T", table],
                input="\n".join([*after, ""]), check=True, capture_output=True, text=True,
            )  # fmt: skip


def _setting(name: str) -> Path:
    return Path("/proc/sys", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
