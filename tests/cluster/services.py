"""What makes Services work and pods be placed: the scheduler, kube-proxy and CoreDNS, as processes
of the machine. One kube-proxy serves both nodes, since they share the machine's network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.network import CONTROL_PLANE_ADDRESS, RANGE
from tests.cluster.process import Process
from tests.controlplane.control_plane import ControlPlane, answers

_SCHEDULER, _PROXY, _DNS = "system:kube-scheduler", "system:kube-proxy", "system:coredns"
USERS: Mapping[str, str] = {_SCHEDULER: "", _PROXY: "", _DNS: ""}
"""Who they are to the API server: name and group."""

DNS_RIGHTS: Sequence[Mapping[str, Any]] = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _DNS},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["services", "pods", "namespaces"],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _DNS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _DNS},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _DNS}],
    },
]

_PROXY_HEALTH = f"{CONTROL_PLANE_ADDRESS}:10256"
_DNS_READY = f"{CONTROL_PLANE_ADDRESS}:8181"


def services(
    folder: Path, programs: Mapping[str, Path], control_plane: ControlPlane, node: str
) -> Sequence[Process]:
    """The three, their settings written into `folder`, not started yet.

    node: the one that kube-proxy takes itself to be on.
    """
    folder.mkdir()
    scheduler = control_plane.kubeconfig_of(_SCHEDULER)
    proxy = folder / "kube-proxy.json"
    proxy.write_text(
        json.dumps(_proxy_settings(control_plane.kubeconfig_of(_PROXY), node)), encoding="utf-8"
    )
    dns = folder / "Corefile"
    dns.write_text(_corefile(control_plane.kubeconfig_of(_DNS)), encoding="utf-8")
    arguments = {
        "kube-scheduler": [
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            f"--bind-address={CONTROL_PLANE_ADDRESS}",
            f"--cert-dir={folder / 'scheduler-certificates'}",
            "--leader-elect=false",  # there is one
        ],
        "kube-proxy": [f"--config={proxy}"],
        "coredns": ["-conf", str(dns)],
    }
    return [
        Process(name, f"{folder}/{name}", [programs[name], *flags], folder / f"{name}.log")
        for name, flags in arguments.items()
    ]


def ready() -> bool:
    """Whether kube-proxy has written its rules and CoreDNS knows the cluster's Services."""
    return answers(f"http://{_PROXY_HEALTH}/healthz") and answers(f"http://{_DNS_READY}/ready")


def _proxy_settings(kubeconfig: Path, node: str) -> object:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": node,
        "bindAddress": CONTROL_PLANE_ADDRESS,
        "healthzBindAddress": _PROXY_HEALTH,
        "metricsBindAddress": f"{CONTROL_PLANE_ADDRESS}:10249",
        "clusterCIDR": RANGE,
        # Zeros leave the machine's settings as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"localhostNodePorts": False},
        "oomScoreAdj": 0,
    }


def _corefile(kubeconfig: Path) -> str:
    resolver = Path("/etc/resolv.conf")
    named = resolver.exists() and "nameserver" in resolver.read_text()
    return f"""\
.:53 {{
    bind {CONTROL_PLANE_ADDRESS}
    errors
    ready {_DNS_READY}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
    }}
    {f"forward . {resolver}" if named else ""}
}}
"""
