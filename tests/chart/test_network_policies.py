"""Whom the chart's policies let reach whom, without a cluster.

tests/e2e/test_security.py holds them against pods that run, with the operator's own beside them.
"""

import json
from typing import Any

import pytest

from tests.chart.rendered_chart import NAMESPACE, Object, one, rendered
from tests.e2e.network_flows import OUTSIDE, Peer, Port, Protocol, may_reach

DNS = Peer("kube-system", {"k8s-app": "kube-dns"}, {})
TCP, UDP, SCTP = Port(53), Port(53, "UDP"), Port(53, "SCTP")
BEHIND = {53: "Kubernetes' own DNS", 5353: "OpenShift's"}
"""Ports at which pods answer names."""
SERVER = Peer("n", {"app": "server"}, {"web": Port(80), "log": Port(80, "UDP")})
CLIENT = Peer("n", {"app": "client"}, {})


def egress(*ports: Object) -> Object:
    """A policy that lets the client reach these ports of everybody."""
    return {
        "metadata": {"namespace": "n"},
        "spec": {
            "podSelector": {"matchLabels": CLIENT.labels},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [*ports]}],
        },
    }


@pytest.mark.parametrize(
    ("ports", "port", "wanted", "why"),
    [
        ([{"port": 53}], TCP, True, "a protocol that is not named is TCP"),
        ([{"port": 53}], UDP, False, "and nothing else"),
        ([{"port": 53, "protocol": "UDP"}], UDP, True, "it is named"),
        ([{"port": 53, "protocol": "UDP"}], TCP, False, "another one is named"),
        ([{"port": 53, "protocol": "SCTP"}], SCTP, True, "there are three"),
        ([{"protocol": "UDP"}], UDP, True, "no port is every port"),
        ([{"protocol": "UDP"}], TCP, False, "of that protocol"),
        ([{}], TCP, True, "every port of TCP"),
        ([{"port": 50, "endPort": 53}], TCP, True, "a range holds its last port"),
        ([{"port": 50, "endPort": 52}], TCP, False, "and none after it"),
        ([{"port": "web"}], "web", True, "a name is that of the pod's port"),
        ([{"port": "log"}], "log", False, "the port of that name is not TCP's"),
        ([{"port": "log", "protocol": "UDP"}], "log", True, "now both fit"),
        ([{"port": "dns"}], TCP, False, "the pod has no port of that name"),
        ([], SCTP, True, "a rule that names no port allows every one"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_ports_mean_what_kubernetes_says(
    ports: list[Object], port: Port | str, wanted: bool, why: str
) -> None:
    assert may_reach([egress(*ports)], CLIENT, SERVER, port) == wanted, why


@pytest.fixture(scope="module")
def chart() -> list[Object]:
    """With the verifier."""
    return rendered({"verifier": {"enabled": True}})


def pod_of(chart: list[Object], component: str) -> Peer:
    """A pod as its Deployment makes it."""
    template: dict[str, Any] = one(chart, "Deployment", f"-{component}")["spec"]["template"]
    return Peer.of({**template, "metadata": {**template["metadata"], "namespace": NAMESPACE}})


@pytest.mark.parametrize("number", BEHIND)
@pytest.mark.parametrize("server", [DNS, OUTSIDE], ids=["in a pod", "on a node"])
def test_the_operator_finds_the_api_servers_address_and_the_verifier_none(
    chart: list[Object], server: Peer, number: int
) -> None:
    """Resolvers ask by UDP, and again by TCP where an answer is long."""
    policies = [body for body in chart if body["kind"] == "NetworkPolicy"]
    operator, verifier = (pod_of(chart, component) for component in ("operator", "verifier"))
    protocols: tuple[Protocol, ...] = ("UDP", "TCP", "SCTP")
    asked = {protocol: Port(number, protocol) for protocol in protocols}
    answers = {name: may_reach(policies, operator, server, port) for name, port in asked.items()}
    assert answers == {"UDP": True, "TCP": True, "SCTP": False}
    assert not any(may_reach(policies, verifier, server, port) for port in asked.values())
