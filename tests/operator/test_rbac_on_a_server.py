"""What the operator may do and may not, by the rules that the chart installs.

It runs under them in every scenario (`scenarios/`); here is what they leave out.
"""

import asyncio
import json
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenarios.hasty_operator import hasty_operator
from scenarios.kubelets import Kubelets
from scenarios.live_api import live_api
from scenarios.roles import NAME, allowed_by, bind, grant, operator_account, rules
from scenarios.scene import TRAINS, Scene

from tests.controlplane.control_plane import Account, ControlPlane
from tests.waiting import wait_for

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
VERBS = (
    *("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"),
    *("impersonate", "bind", "escalate", "approve", "sign", "use"),
)
"""Those of the API, and those that RBAC knows beside them."""

Right = tuple[str, str, str]
"""(group, resource or resource/subresource, verb)."""


@dataclass(frozen=True)
class Installed:
    """An operator's account on a cluster, with a namespace that has something in it."""

    control_plane: ControlPlane
    account: Account
    namespace: str

    def tries(self, method: str, path: str, body: Any = None) -> int:
        """HTTP status of a request as the operator. `{}` in the path: the namespace."""
        try:
            self.control_plane.request(
                method, path.format(self.namespace), body, self.account.token
            )
        except urllib.error.HTTPError as error:
            return error.code
        return 200


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> Installed:
    """For the whole cluster, as the chart does by default."""
    namespace, home = control_plane.new_namespace(), control_plane.new_namespace("home")
    made = f"/api/v1/namespaces/{namespace}"
    control_plane.request("POST", f"{made}/secrets", {"metadata": {"name": "hub"}})
    control_plane.request("POST", f"{made}/configmaps", {"metadata": {"name": "site"}})
    pod = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}
    control_plane.request("POST", f"{made}/pods", {"metadata": {"name": "p"}, "spec": pod})
    job = {"metadata": {"name": "j"}, "spec": {"suspend": True, "template": {"spec": pod}}}
    control_plane.request("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    return Installed(control_plane, operator_account(control_plane, home), namespace)


def resources(control_plane: ControlPlane) -> Iterator[tuple[str, str, bool]]:
    """(group, resource or resource/subresource, whether it is in a namespace), all there are."""
    places = [("", "/api/v1")]
    for group in control_plane.request("GET", "/apis")["groups"]:
        places += [
            (group["name"], f"/apis/{version['groupVersion']}") for version in group["versions"]
        ]
    for group_name, path in places:
        for found in control_plane.request("GET", path)["resources"]:
            yield group_name, found["name"], found["namespaced"]


async def rights(control_plane: ControlPlane, account: Account, namespace: str) -> set[Right]:
    """All that an account may do, as the API server itself says: in a namespace, or in the cluster
    for what is in none."""
    found: set[Right] = set()
    async with live_api(control_plane, account.token, kinds=()) as api:

        async def ask(group: str, resource: str, verb: str, namespaced: bool) -> None:
            name, _, sub = resource.partition("/")
            asked = {"group": group, "resource": name, "subresource": sub, "verb": verb}
            if namespaced:
                asked["namespace"] = namespace
            answer = await api.call("POST", REVIEWS, {"spec": {"resourceAttributes": asked}})
            if answer["status"]["allowed"]:
                found.add((group, resource, verb))

        everything = sorted(set(resources(control_plane)))
        assert ("", "secrets", True) in everything
        assert ("", "pods/exec", True) in everything
        for group, resource, namespaced in everything:
            await asyncio.gather(*(ask(group, resource, verb, namespaced) for verb in VERBS))
    return found


def test_of_all_that_the_server_offers_only_the_rules_are_allowed(installed: Installed) -> None:
    """2,000 questions. What a service account without any role may (ask who it is) is
    not the rules'."""
    control_plane, namespace = installed.control_plane, installed.namespace
    nobody = control_plane.service_account(namespace, "nobody")

    async def asked() -> tuple[set[Right], set[Right]]:
        return (
            await rights(control_plane, installed.account, namespace),
            await rights(control_plane, nobody, namespace),
        )

    may, anybody_may = asyncio.run(asked())
    assert may - anybody_may == allowed_by("runs", "nodes")


CORE, BATCH = "/api/v1/namespaces/{}", "/apis/batch/v1/namespaces/{}"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}"
RUNS = "/apis/acereason.dev/v1alpha1/namespaces/{}/acereasonruns"
POD = {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@pytest.mark.parametrize(
    ("why", "method", "path", "body"),
    [
        ("read a Secret", "GET", f"{CORE}/secrets/hub", None),
        ("list Secrets", "GET", f"{CORE}/secrets", None),
        ("read all Secrets", "GET", "/api/v1/secrets", None),
        ("read a ConfigMap", "GET", f"{CORE}/configmaps/site", None),
        ("read a log", "GET", f"{CORE}/pods/p/log", None),
        ("run a command", "POST", f"{CORE}/pods/p/exec?command=id&stdout=true", None),
        ("attach", "POST", f"{CORE}/pods/p/attach?stdout=true", None),
        ("reach a port", "POST", f"{CORE}/pods/p/portforward?ports=9400", None),
        ("make a pod", "POST", f"{CORE}/pods", POD),
        ("change a pod", "PATCH", f"{CORE}/pods/p", {}),
        ("delete a pod", "DELETE", f"{CORE}/pods/p", None),
        ("say how a pod is", "PATCH", f"{CORE}/pods/p/status", {}),
        ("change a Job", "PATCH", f"{BATCH}/jobs/j", {"spec": {"suspend": False}}),
        ("say how a Job is", "PATCH", f"{BATCH}/jobs/j/status", {}),
        ("delete all Jobs", "DELETE", f"{BATCH}/jobs", None),
        ("make a run", "POST", RUNS, {}),
        ("change a run", "PATCH", f"{RUNS}/r", {"spec": {}}),
        ("delete a run", "DELETE", f"{RUNS}/r", None),
        ("read a claim", "GET", f"{CORE}/persistentvolumeclaims/c", None),
        ("delete a claim", "DELETE", f"{CORE}/persistentvolumeclaims/c", None),
        ("take a token", "POST", f"{CORE}/serviceaccounts/default/token", {"spec": {}}),
        ("give itself rights", "POST", f"{RBAC}/rolebindings", {}),
        ("change a node", "PATCH", "/api/v1/nodes/n", {}),
        ("list nodes", "GET", "/api/v1/nodes", None),
        ("make a namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": "mine"}}),
        ("take a Lease elsewhere", "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system"
         "/leases/kube-controller-manager", None),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_it_may_not(why: str, method: str, path: str, body: Any, installed: Installed) -> None:
    assert installed.tries(method, path, body) == 403, why


def test_an_apply_of_what_is_not_there_needs_create(control_plane: ControlPlane) -> None:
    namespace = control_plane.new_namespace()
    without = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "create"]}
        for rule in rules("runs")
        if rule["resources"] == ["services"]
    ]
    account = control_plane.service_account(namespace, "applies")
    grant(control_plane, "Role", without, (namespace, "applies"), namespace)
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": namespace},
        "spec": {"clusterIP": "None"},
    }
    with pytest.raises(Exception, match="non-zero exit status") as refused:
        control_plane.kubectl(
            *("apply", "--server-side", "--validate=false", "-f", "-"),
            kubeconfig=account.kubeconfig,
            stdin=json.dumps(body),
        )
    assert 'cannot create resource "services"' in refused.value.stderr  # type: ignore[attr-defined]


def test_an_operator_for_one_namespace_works_with_rights_there_alone(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """It may not look at nodes and takes them for well; elsewhere it may nothing."""
    namespace, home = control_plane.new_namespace(), control_plane.new_namespace("home")
    elsewhere = control_plane.new_namespace()
    account = operator_account(control_plane, home, namespace)

    async def play() -> None:
        async with live_api(control_plane) as api, Kubelets(api) as kubelets:
            on = Scene(namespace, api, kubelets, tmp_path)
            log, words = tmp_path / "operator.log", ("--namespace", namespace)
            async with hasty_operator(account, home, log, kubelets.port, *words):
                on.hold = {"train"}
                await on.apply(stages=[TRAINS])
                (pod,) = await on.seen_running()
                await on.end(pod, 1, message="rank 0: ValueError")
                on.release("train")
                await on.holds("Complete")
                assert on.stage().spent.user == 1

    asyncio.run(play())
    for place in (
        f"/api/v1/namespaces/{elsewhere}/pods",
        f"/apis/batch/v1/namespaces/{elsewhere}/jobs",
        f"/apis/acereason.dev/v1alpha1/namespaces/{elsewhere}/acereasonruns",
        "/api/v1/nodes/n",
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            control_plane.request("GET", place, token=account.token)


@pytest.fixture(scope="module")
def people(control_plane: ControlPlane) -> dict[str, Installed]:
    """Somebody with each of the built-in roles, once our rules have been added to them."""
    for name, to in (("view", ("view",)), ("edit", ("edit", "admin"))):
        labels = {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in to}
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"{NAME}-{name}", "labels": labels},
            "rules": rules(name),
        }
        control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(role))
    namespace = control_plane.new_namespace()
    found: dict[str, Installed] = {}
    for role in ("view", "edit", "admin"):
        found[role] = Installed(
            control_plane, control_plane.service_account(namespace, role), namespace
        )
        bind(control_plane, "ClusterRole", role, (namespace, role), namespace)
    return found


@pytest.mark.parametrize(
    ("role", "looks", "makes"),
    [("view", 200, 403), ("edit", 200, 400), ("admin", 200, 400)],
)
def test_our_roles_are_added_to_the_built_in_ones(
    role: str, looks: int, makes: int, people: dict[str, Installed]
) -> None:
    """400: what is asked for is allowed, and is no run."""
    person = people[role]
    wait_for(
        lambda: (person.tries("GET", RUNS), person.tries("POST", RUNS, {})) == (looks, makes),
        "the rules to be added to the role",
    )
    assert person.tries("PATCH", f"{RUNS}/r/status", {}) == 403, "the operator's alone"
