"""What the chart makes of values.

Snapshots lie in `golden/`; `ACEREASON_WRITE_GOLDEN=1` writes them anew, and the diff is for a
person to read.
"""

import json
import os
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.cluster import labels
from acereason_operator.runtime.operator import FINISHING

from tests.chart.rendered_chart import (
    CHART,
    NAMESPACE,
    Object,
    Values,
    helm,
    one,
    rendered,
    template,
    with_least,
)
from tests.chart.value_sets import VALUE_SETS

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", VALUE_SETS)
def test_what_is_rendered_is_what_was_reviewed(name: str) -> None:
    bodies = [body for body in rendered(VALUE_SETS[name]) if body["kind"] != CRD]
    for body in bodies:
        for entry in body.get("data", {}):
            if entry.endswith((".py", ".json")):
                body["data"][entry] = "(the file)"
        if body["kind"] == "PrometheusRule":
            body["spec"]["groups"] = [group["name"] for group in body["spec"]["groups"]]
    bodies.sort(key=lambda body: (body["kind"], body["metadata"]["name"]))
    text = yaml.safe_dump_all(bodies, sort_keys=False, width=100)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("ACEREASON_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", VALUE_SETS)
def test_helm_lint_has_nothing_to_say(name: str) -> None:
    done = helm("lint", "--strict", "--quiet", CHART, values=with_least(VALUE_SETS[name]))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


CRD = "CustomResourceDefinition"


def test_the_definition_is_the_generated_one_and_helm_keeps_it() -> None:
    crd = one(rendered({}), CRD)
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load((CHART / "files/crds/acereasonruns.yaml").read_text())


def test_a_release_without_the_definition_makes_none() -> None:
    assert CRD not in {body["kind"] for body in rendered({"crds": {"enabled": False}})}


def rules(*names: str) -> list[Object]:
    """What the tests of the operator run it under."""
    return [
        rule
        for name in names
        for rule in yaml.safe_load((CHART / f"files/rules/{name}.yaml").read_text())
    ]


def granted(objects: list[Object], account: str) -> dict[tuple[str, str], list[Object]]:
    """Rules bound to a service account, by kind of role and namespace."""
    roles = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o["rules"]
             for o in objects if o["kind"] in ("Role", "ClusterRole")}  # fmt: skip
    found: dict[tuple[str, str], list[Object]] = {}
    for body in objects:
        if not body["kind"].endswith("Binding") or body["subjects"][0]["name"] != account:
            continue
        kind, place = body["roleRef"]["kind"], body["metadata"].get("namespace", "")
        found.setdefault((kind, place), []).extend(roles[kind, place, body["roleRef"]["name"]])
    return found


def test_the_operator_gets_the_rights_that_its_tests_run_under() -> None:
    objects = rendered({})
    account = one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    assert granted(objects, account) == {
        ("Role", NAMESPACE): rules("lease"),
        ("ClusterRole", ""): rules("runs", "nodes"),
    }


def test_an_operator_for_namespaces_has_rights_there_and_none_in_the_cluster() -> None:
    objects = rendered({"namespaces": ["research", NAMESPACE]})
    account = one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    assert granted(objects, account) == {
        ("Role", NAMESPACE): rules("lease", "runs"),
        ("Role", "research"): rules("runs"),
    }


def test_view_and_edit_are_added_to_the_built_in_roles() -> None:
    objects = rendered({})
    for name, to in (("view", {"view"}), ("edit", {"edit", "admin"})):
        role = one(objects, "ClusterRole", f"-{name}")
        aggregated = "rbac.authorization.k8s.io/aggregate-to-"
        given = role["metadata"]["labels"]
        assert {k.removeprefix(aggregated) for k in given if k.startswith(aggregated)} == to
        assert role["rules"] == rules(name)


def test_replicas_are_kept_apart_from_each_other_and_not_from_those_they_replace() -> None:
    """Where pods of the last revision count, an update may leave both replicas on one node."""
    bodies = rendered({"verifier": {"enabled": True}})
    specs = [b["spec"]["template"]["spec"] for b in bodies if b["kind"] == "Deployment"]
    assert len(specs) == 2
    for spec in specs:
        soft = "preferredDuringSchedulingIgnoredDuringExecution"
        (wish,) = spec["affinity"]["podAntiAffinity"][soft]
        (zones,) = spec["topologySpreadConstraints"]
        for apart in (wish["podAffinityTerm"], zones):
            assert apart["matchLabelKeys"] == ["pod-template-hash"]


def test_the_operator_may_finish_before_it_is_killed() -> None:
    pod = one(rendered({}), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= FINISHING + 10


def test_the_verifier_may_finish_before_it_is_killed() -> None:
    values = {"verifier": {"enabled": True, "settings": {"graceSeconds": 90.5}}}
    pod = one(rendered(values), "Deployment", "-verifier")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 101


@pytest.mark.parametrize("name", VALUE_SETS)
def test_only_who_talks_to_the_api_server_has_a_token(name: str) -> None:
    objects = rendered(VALUE_SETS[name])
    pods = {o["metadata"]["name"]: o["spec"]["template"]["spec"]
            for o in objects if o["kind"] == "Deployment"}  # fmt: skip
    with_token = {pod for pod, spec in pods.items() if spec["automountServiceAccountToken"]}
    assert with_token == {pod for pod in pods if not pod.endswith("-verifier")}
    accounts = [o for o in objects if o["kind"] == "ServiceAccount"]
    assert not any(account["automountServiceAccountToken"] for account in accounts)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_pod_is_given_services_as_variables(name: str) -> None:
    """A Service named acereason-verifier would set ACEREASON_VERIFIER_PORT=tcp://..."""
    for spec in pod_specs(rendered(VALUE_SETS[name])):
        assert spec["enableServiceLinks"] is False


def test_the_run_of_helm_test_pulls_its_images_as_the_charts_own_pods_do() -> None:
    def told(values: Values) -> Any:
        data = one(rendered(values), "ConfigMap", "-test")["data"]
        return yaml.safe_load(data["run.yaml"])["spec"]["defaults"]["podTemplate"]["spec"]

    secrets = [{"name": "pull"}, {"name": "other"}]
    assert told({"images": {"pullSecrets": secrets}})["imagePullSecrets"] == secrets
    assert "imagePullSecrets" not in told({})


def test_the_readme_removes_all_that_a_failed_helm_test_leaves() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    told = re.search(r"kubectl delete (\S+) .*\n +--selector (\S+)", readme)
    assert told is not None
    kinds = told[1].split(",")
    selector = dict(part.split("=") for part in told[2].split(","))
    bodies = rendered({"namespaces": ["research"]}, release="acereason")
    for body in bodies:
        meta = body["metadata"]
        left = meta.get("annotations", {}).get("helm.sh/hook") == "test"
        selected = selector.items() <= meta.get("labels", {}).items()
        assert (selected and body["kind"].lower() in kinds) == left, meta["name"]
        assert not left or meta["namespace"] in (NAMESPACE, "research")


def pod_specs(objects: list[Object]) -> list[Object]:
    """Of every pod that the chart makes."""
    return [o["spec"] for o in objects if o["kind"] == "Pod"] + [
        o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"
    ]


def selects(peer: Object, namespace: str, given: dict[str, str]) -> bool:
    """Whether a policy's peer is a pod with these labels."""
    wanted = peer["podSelector"]["matchLabels"].items() <= given.items()
    if "namespaceSelector" not in peer:
        return wanted and namespace == NAMESPACE
    places = [e["values"] for e in peer["namespaceSelector"].get("matchExpressions", ())]
    return wanted and all(namespace in values for values in places)


@pytest.mark.parametrize(
    ("served", "namespace", "phase", "reached"),
    [
        ([], "anywhere", "Train", True),
        ([], "anywhere", "Prepare", False),
        (["research"], "research", "Train", True),
        (["research"], "teaching", "Train", False),
    ],
)
def test_stages_that_train_reach_the_verifier_and_the_operator_reaches_them(
    served: list[str], namespace: str, phase: Any, reached: bool
) -> None:
    objects = rendered({"namespaces": served, "verifier": {"enabled": True}})
    given = labels.of_phase("run", "stage", 1, phase)
    to_verifier = one(objects, "NetworkPolicy", "-verifier")["spec"]["ingress"][0]["from"]
    from_operator = one(objects, "NetworkPolicy", "-operator")["spec"]["egress"][1]["to"]
    for peers in (to_verifier, from_operator):
        assert any(selects(peer, namespace, given) for peer in peers) == reached


def test_the_verifier_reaches_nothing() -> None:
    policy = one(rendered({"verifier": {"enabled": True}}), "NetworkPolicy", "-verifier")["spec"]
    assert ("Egress" in policy["policyTypes"], policy["egress"]) == (True, [])


@pytest.mark.parametrize("name", VALUE_SETS)
def test_what_selects_the_charts_pods_finds_exactly_those_of_its_component(name: str) -> None:
    objects = rendered(VALUE_SETS[name])
    pods = {o["metadata"]["labels"]["app.kubernetes.io/component"]:
            o["spec"]["template"]["metadata"]["labels"]
            for o in objects if o["kind"] == "Deployment"}  # fmt: skip
    pods["test"] = one(objects, "Pod")["metadata"]["labels"]
    seen = 0
    for body in objects:
        if body["kind"] in ("Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service"):
            spec = body["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            wanted = selector.get("matchLabels", selector).items()
            found = [component for component, given in pods.items() if wanted <= given.items()]
            assert found == [body["metadata"]["labels"]["app.kubernetes.io/component"]]
            seen += 1
    assert seen >= 3


def test_pod_monitors_are_made_where_the_cluster_has_them_or_when_asked_for() -> None:
    api = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    made = {
        (create, known): "kind: PodMonitor" in template(
            {"monitoring": {"create": create}}, *(api if known else ())
        ).stdout
        for create, known in product(("auto", "always", "never"), (True, False))
    }  # fmt: skip
    assert {key for key, there in made.items() if there} == {
        ("auto", True),
        ("always", True),
        ("always", False),
    }


def test_rank_zero_of_every_stage_is_scraped_as_its_run() -> None:
    monitor = one(rendered({"monitoring": {"create": "always"}}), "PodMonitor", "-stages")["spec"]
    given = labels.of_phase("run", "stage", 2, "Train") | {labels.COMPLETION_INDEX: "0"}
    assert monitor["selector"]["matchLabels"].items() <= given.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    told = {r["targetLabel"]: r["sourceLabels"][0] for r in endpoint["relabelings"]}
    # Prometheus puts _ for what no name of a label may hold.
    prefix = "__meta_kubernetes_pod_label_"
    named = {"run": labels.RUN, "stage": labels.STAGE, "attempt": labels.ATTEMPT}
    assert told == {
        short: prefix + name.replace(".", "_").replace("/", "_") for short, name in named.items()
    }


def test_what_the_operator_says_of_a_runs_namespace_is_not_overwritten() -> None:
    monitor = one(rendered({"monitoring": {"create": "always"}}), "PodMonitor", "-operator")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True


def test_rule_files_and_dashboards_go_in_as_they_are(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    for folder in ("alerts", "dashboards"):
        shutil.rmtree(chart / "files" / folder, ignore_errors=True)
        (chart / "files" / folder).mkdir()
    groups = [
        {
            "name": name,
            "rules": [
                {
                    "alert": "Stuck",
                    "expr": 'x{a="b"} > 1e6',
                    "annotations": {
                        "summary": "{{ $labels.run }} is at {{ $value }}",
                        "runbook_url": "docs/runbooks.md#stuck",
                    },
                }
            ],
        }
        for name in ("one", "two")
    ]
    for group in groups:
        text = yaml.safe_dump({"groups": [group]})
        (chart / f"files/alerts/{group['name']}.yaml").write_text(text)
    board = {"title": "Runs", "panels": [{"legendFormat": "{{run}}\n\n  two"}]}
    (chart / "files/dashboards/runs.json").write_text(json.dumps(board, indent=2) + "\n")
    objects = rendered({"monitoring": {"create": "always", "labels": {"release": "p"}}}, chart)
    rule = one(objects, "PrometheusRule")
    assert rule["spec"]["groups"] == groups
    assert rule["metadata"]["labels"]["release"] == "p"
    hosted = {"monitoring": {"create": "always", "docsUrl": "https://git.example/a/blob/main/"}}
    linked = one(rendered(hosted, chart), "PrometheusRule")["spec"]["groups"][1]["rules"][0]
    found = linked["annotations"]["runbook_url"]
    assert found == "https://git.example/a/blob/main/docs/runbooks.md#stuck"
    made = one(objects, "ConfigMap", "-runs")
    assert json.loads(made["data"]["runs.json"]) == board
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_longest_release_name_makes_no_name_too_long() -> None:
    objects = rendered({"verifier": {"enabled": True}}, release="r" * 53)
    assert max(len(body["metadata"]["name"]) for body in objects) <= 63
