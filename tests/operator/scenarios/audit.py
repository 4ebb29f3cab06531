"""Every request that an API server got from the operator: its own audit log."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system", "system:masters"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
"""What the operator asks and how it is answered; of controllers and administrators, nothing."""


@dataclass(frozen=True)
class Request:
    """One of them."""

    at: datetime
    verb: str
    group: str
    resource: str
    """With `/subresource`, where there is one; empty for a path that is no resource."""
    namespace: str
    name: str
    allowed: bool
    """By the roles. (A quota refuses what they allow.)"""


def flags(folder: Path) -> Mapping[str, Sequence[str]]:
    """What makes an API server write the log into a folder."""
    policy = folder / "audit-policy.json"
    policy.write_text(json.dumps(POLICY))
    return {
        "kube-apiserver": [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={folder / 'audit.log'}",
        ]
    }


def requests(folder: Path, namespace: str = "") -> Iterator[Request]:
    """All of them, or those for a namespace; a watch when it began and when it ended."""
    for line in (folder / "audit.log").read_text().splitlines(keepends=True):
        if namespace not in line or not line.endswith("\n"):  # of another, or still being written
            continue
        event = json.loads(line)
        at = event.get("objectRef") or {}
        parts = [at.get("resource", ""), at.get("subresource", "")]
        yield Request(
            at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
            verb=event["verb"],
            group=at.get("apiGroup", ""),
            resource="/".join(part for part in parts if part),
            namespace=at.get("namespace", ""),
            name=at.get("name", ""),
            allowed=event["annotations"]["authorization.k8s.io/decision"] == "allow",
        )
