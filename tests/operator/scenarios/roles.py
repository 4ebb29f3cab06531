"""The rules that the chart installs, given to a service account as the chart does."""

from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.control_plane import Account, ControlPlane

RULES = Path(__file__).parents[3] / "charts/acereason-operator/files/rules"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HOME = "acereason-system"
"""The operator's own namespace."""
NAME = "acereason-operator"


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    found: list[dict[str, Any]] = yaml.safe_load((RULES / f"{name}.yaml").read_text())
    return found


def operator_account(control_plane: ControlPlane, *namespaces: str) -> Account:
    """The operator's service account with its roles, and nothing else. namespaces: those that it
    serves; none: the whole cluster, nodes included."""
    make = control_plane.request
    make("POST", "/api/v1/namespaces", {"metadata": {"name": HOME}})
    account = control_plane.service_account(HOME, NAME)
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": HOME}]
    grant(control_plane, "Role", rules("lease"), subjects, HOME)
    for namespace in namespaces:
        grant(control_plane, "Role", rules("runs"), subjects, namespace)
    if not namespaces:
        grant(control_plane, "ClusterRole", rules("runs") + rules("nodes"), subjects)
    return account


def grant(
    control_plane: ControlPlane,
    kind: str,
    allowed: list[dict[str, Any]],
    subjects: list[dict[str, Any]],
    namespace: str = "",
) -> None:
    """A role with its binding."""
    place = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
    role = {"metadata": {"name": NAME}, "rules": allowed}
    control_plane.request("POST", f"{place}/{kind.lower()}s", role)
    binding = {
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME},
        "subjects": subjects,
    }
    control_plane.request("POST", f"{place}/{kind.lower()}bindings", binding)


def allowed_by(*names: str) -> set[tuple[str, str, str]]:
    """(group, resource or resource/subresource, verb) that the rules of some files allow."""
    return {
        (group, resource, verb)
        for name in names
        for rule in rules(name)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
