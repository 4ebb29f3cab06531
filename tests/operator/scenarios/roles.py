"""The rules that the chart installs, given to a service account as the chart does."""

from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.control_plane import Account, ControlPlane
from tests.waiting import wait_for

RULES = Path(__file__).parents[3] / "charts/acereason-operator/files/rules"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
NAME = "acereason-operator"


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    found: list[dict[str, Any]] = yaml.safe_load((RULES / f"{name}.yaml").read_text())
    return found


def operator_account(control_plane: ControlPlane, home: str, *namespaces: str) -> Account:
    """The operator's service account in a namespace of its own, with its roles and nothing else.

    namespaces: those that it serves; none: the whole cluster, nodes included.
    """
    account = control_plane.service_account(home, NAME)
    grant(control_plane, "Role", rules("lease"), (home, NAME), home)
    for namespace in namespaces:
        grant(control_plane, "Role", rules("runs"), (home, NAME), namespace)
    if not namespaces:
        grant(control_plane, "ClusterRole", rules("runs") + rules("nodes"), (home, NAME))
    return account


def grant(
    control_plane: ControlPlane,
    kind: str,
    allowed: list[dict[str, Any]],
    account: tuple[str, str],
    namespace: str = "",
) -> None:
    """A role with its binding to an account (its namespace, its name), once it is in force."""
    place = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
    name = "-".join(account)
    role = {"metadata": {"name": name}, "rules": allowed}
    control_plane.request("POST", f"{place}/{kind.lower()}s", role)
    bind(control_plane, kind, name, account, namespace)
    wait_for(
        lambda: _may(control_plane, account, namespace, allowed[0]),
        f"the {kind} {name} to be in force",
    )


def bind(
    control_plane: ControlPlane, kind: str, name: str, account: tuple[str, str], namespace: str = ""
) -> None:
    """Give a role to an account, in a namespace or everywhere."""
    place = (
        f"{RBAC}/namespaces/{namespace}/rolebindings"
        if namespace
        else (f"{RBAC}/clusterrolebindings")
    )
    body = {
        "metadata": {"name": f"{name}-{'-'.join(account)}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": account[0], "name": account[1]}],
    }
    control_plane.request("POST", place, body)


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


def _may(
    control_plane: ControlPlane, account: tuple[str, str], namespace: str, rule: dict[str, Any]
) -> bool:
    """Whether an account may do what a rule says first: the authorizer learns of roles and bindings
    a while after they are made."""
    resource, _, sub = rule["resources"][0].partition("/")
    asked = {
        "namespace": namespace,
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": sub,
        "verb": rule["verbs"][0],
    }
    user = f"system:serviceaccount:{account[0]}:{account[1]}"
    review = {"spec": {"user": user, "resourceAttributes": asked}}
    answer = control_plane.request("POST", REVIEWS, review)
    return bool(answer["status"]["allowed"])
