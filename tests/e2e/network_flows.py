"""Whom NetworkPolicies let reach whom, as a network plugin would enforce them.

The rules are those of networking.k8s.io/v1: a pod that no policy of a direction selects is open in
that direction; one that some do may do what any of them allows. Peers that are addresses are taken
to match what is no pod.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Object = dict[str, Any]
Protocol = Literal["TCP", "UDP", "SCTP"]
NAMESPACE_NAME = "kubernetes.io/metadata.name"


class Port(NamedTuple):
    """Where somebody listens."""

    number: int
    protocol: Protocol = "TCP"


@dataclass(frozen=True)
class Peer:
    """A pod, or what is none where it has no namespace."""

    namespace: str
    labels: Mapping[str, str]
    ports: Mapping[str, Port]
    """Those that have names."""

    @classmethod
    def of(cls, pod: Object) -> "Peer":
        """A pod as the API server has it."""
        ports = (port for c in pod["spec"]["containers"] for port in c.get("ports", ()))
        named = {
            port["name"]: Port(int(port["containerPort"]), port.get("protocol", "TCP"))
            for port in ports
            if "name" in port
        }
        return cls(pod["metadata"]["namespace"], pod["metadata"]["labels"], named)


OUTSIDE = Peer("", {}, {})
"""What is no pod: the API server, a registry."""


def may_reach(policies: Sequence[Object], source: Peer, target: Peer, port: Port | str) -> bool:
    """Whether what the source sends to a port of the target, by its name there or itself, is let
    through."""
    there = target.ports[port] if isinstance(port, str) else port
    leaves = _direction(policies, source, "Egress", "to", target, target, there)
    return leaves and _direction(policies, target, "Ingress", "from", source, target, there)


def _direction(
    policies: Sequence[Object],
    subject: Peer,
    direction: str,
    peers: str,
    other: Peer,
    target: Peer,
    there: Port,
) -> bool:
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == subject.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], subject.labels)
    ]
    rules = [rule for spec in selecting for rule in spec.get(direction.lower(), ())]
    return not selecting or any(
        _peers_match(rule.get(peers), other, subject.namespace)
        and _ports_match(rule.get("ports"), target, there)
        for rule in rules
    )


def _peers_match(peers: Sequence[Object] | None, other: Peer, namespace: str) -> bool:
    return not peers or any(_peer_matches(peer, other, namespace) for peer in peers)


def _peer_matches(peer: Object, other: Peer, namespace: str) -> bool:
    if "ipBlock" in peer:
        return not other.namespace
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        there = _selects(peer["namespaceSelector"], {NAMESPACE_NAME: other.namespace})
    else:
        there = other.namespace == namespace
    return there and _selects(peer.get("podSelector", {}), other.labels)


def _ports_match(ports: Sequence[Object] | None, target: Peer, there: Port) -> bool:
    return not ports or any(_port_matches(port, target, there) for port in ports)


def _port_matches(port: Object, target: Peer, there: Port) -> bool:
    """Without a protocol it is TCP, without a port all of the protocol; a range has both ends."""
    if there.protocol != port.get("protocol", "TCP"):
        return False
    if "port" not in port:
        return True
    if isinstance(port["port"], str):
        return target.ports.get(port["port"]) == there
    last = port.get("endPort") or port["port"]
    return bool(port["port"] <= there.number <= last)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "what else there is, nobody here uses"
    return labels.get(expression["key"]) in expression["values"]
