"""Values: each setting has one, each is documented, and wrong ones are refused with a sentence."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from acereason_operator.runtime.settings import Settings as OperatorSettings
from acereason_operator.runtime.settings import read_settings as read_operator
from acereason_operator.runtime.settings import variable
from acereason_trainer.verifier.settings import Settings as VerifierSettings
from acereason_trainer.verifier.settings import read_settings as read_verifier
from pydantic import BaseModel

from charts.values_table import Undocumented, page, rows
from tests.chart.rendered_chart import CHART, Values, environment, one, rendered, template

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
DEFAULTS: Values = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

FROM_ELSEWHERE = {
    "trainer_image", "prepare_image", "image_pull_policy", "namespace", "lease_namespace",
    "lease_name", "verifier_url",
}  # fmt: skip
"""Settings of the operator that follow from other values."""
NOT_IN_A_POD = {"kubeconfig"}
"""A pod has its service account."""


def operator(values: Values) -> OperatorSettings:
    """What the operator reads in its pod."""
    found = environment(one(rendered(values), "Deployment", "-operator"))
    return read_operator([], found)


def verifier(values: Values) -> VerifierSettings:
    """What the verifier reads in its pod."""
    section = {"enabled": True, **values}
    found = environment(one(rendered({"verifier": section}), "Deployment", "-verifier"))
    return read_verifier([], found)


def outside(model: type[BaseModel]) -> dict[str, str]:
    """Names of a model's settings: ours, by those of the outside."""
    return {info.alias or name: name for name, info in model.model_fields.items()}


def test_every_setting_of_the_operator_has_a_value_with_the_operators_default() -> None:
    names = outside(OperatorSettings)
    given = {name for name in names if names[name] not in FROM_ELSEWHERE | NOT_IN_A_POD}
    assert set(DEFAULTS["settings"]) == given
    for name, value in DEFAULTS["settings"].items():
        assert value == OperatorSettings.model_fields[names[name]].default, name


def test_every_setting_of_the_operator_reaches_it() -> None:
    found = environment(one(rendered({}), "Deployment"))
    told = {variable(name) for name in OperatorSettings.model_fields if name not in NOT_IN_A_POD}
    assert {name for name in found if name.startswith("ACEREASON_")} == told
    settings = {
        "workers": 3, "writesPerSecond": 2.5e6, "writeBurst": 7_000_000, "relistSeconds": 60.5,
        "progressSeconds": 5, "probeHost": "::", "probePort": 8081, "metricsPort": 9401,
        "storeMount": "/mnt", "podSecurity": "image", "podUser": 1_000_650_000,
        "gpuResource": "amd.com/gpu", "settling": "1m30s", "firstBackoff": "1.5s",
        "logLevel": "debug",
    }  # fmt: skip
    assert set(settings) == set(DEFAULTS["settings"])
    read = operator({"settings": settings}).model_dump(by_alias=True)
    assert {name: read[name] for name in settings} == settings


def test_settings_that_follow_from_other_values_do() -> None:
    images = {"pullPolicy": "Always", "trainer": {"registry": "r.example", "digest": DIGEST}}
    read = operator({"namespaces": ["research", "teaching"], "images": images})
    assert read.trainer_image == f"r.example/acereason-trainer@{DIGEST}"
    assert read.prepare_image == "registry.example/team/acereason-operator:0.1.0"
    assert read.image_pull_policy == "Always"
    assert read.namespace == ["research", "teaching"]
    assert (read.lease_namespace, read.lease_name) == ("acereason", "ace-acereason-operator")


def test_stages_are_told_of_the_verifier_where_there_is_one() -> None:
    assert not operator({}).verifier_url
    section = {"enabled": True, "settings": {"port": 9000}}
    url = operator({"verifier": section}).verifier_url
    service = one(rendered({"verifier": section}), "Service", "-verifier")
    meta, ports = service["metadata"], service["spec"]["ports"]
    assert url == f"http://{meta['name']}.{meta['namespace']}:{ports[0]['port']}"


DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_every_setting_of_the_verifier_has_a_value_and_reaches_it() -> None:
    assert set(DEFAULTS["verifier"]["settings"]) == set(outside(VerifierSettings))
    settings = {
        "host": "::", "port": 9000, "codeWorkers": 16, "mathWorkers": 4, "queue": 1_048_576,
        "testsMib": 1_000_000, "bodyMib": 64, "graceSeconds": 12.5,
    }  # fmt: skip
    assert set(settings) == set(DEFAULTS["verifier"]["settings"])
    assert verifier({"settings": settings}).model_dump(by_alias=True) == settings


@pytest.mark.parametrize(
    ("section", "model"),
    [("settings", OperatorSettings), ("verifier.settings", VerifierSettings)],
)
def test_bounds_of_settings_are_those_of_the_programs(section: str, model: type[BaseModel]) -> None:
    ours = SCHEMA
    for part in section.split("."):
        ours = ours["properties"][part]
    theirs = model.model_json_schema(by_alias=True)["properties"]
    for name, schema in ours["properties"].items():
        if name in ("port", "probePort"):
            assert (theirs[name]["minimum"], schema["minimum"]) == (0, 1), "0: any free one"
            continue
        for bound in ("minimum", "maximum", "exclusiveMinimum", "enum"):
            assert schema.get(bound) == theirs[name].get(bound), (name, bound)


def leaves(values: Mapping[str, Any], schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Paths at which values and schema differ in what is there."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if "properties" not in schema:
        return
    assert schema["additionalProperties"] is False, at
    yield from (f"{at}{name}" for name in set(values) ^ set(schema["properties"]))
    for name in set(values) & set(schema["properties"]):
        if isinstance(values[name], dict):
            yield from leaves(values[name], schema["properties"][name], f"{at}{name}.")


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    only_in_schema = {"operator.resources.claims", "verifier.resources.claims", "global"}
    assert set(leaves(DEFAULTS, SCHEMA)) == only_in_schema


def test_the_readmes_table_is_made_from_the_comments() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert page(readme, TEXT) == readme, "run: make generate"


def test_the_readme_names_the_versions_that_tests_try() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    helm = required("tests/chart/helm/go.mod", "helm.sh/helm/v3")
    servers = {
        required(f"tests/{module}/go.mod", "k8s.io/kubernetes")
        for module in ("controlplane", "cluster/node")
    }
    (kubernetes,) = servers
    assert f"tried with Helm {helm} and Kubernetes {kubernetes}," in " ".join(readme.split())


def required(module: str, package: str) -> str:
    """Version of a package that a go.mod requires, without its v."""
    text = (CHART.parents[1] / module).read_text(encoding="utf-8")
    found = re.search(rf"{re.escape(package)} v(\S+)", text)
    assert found is not None, module
    return found[1]


def test_a_value_without_a_comment_cannot_be_added() -> None:
    with pytest.raises(Undocumented, match=r"operator\.new has no comment"):
        list(rows("operator:\n  # Said.\n  old: 1\n  new: 2\n"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"operatr": {}}, "additional properties 'operatr' not allowed"),
        (
            {"operator": {"replica": 3}},
            "at '/operator': additional properties 'replica' not allowed",
        ),
        (
            {"settings": {"wrokers": 3}},
            "at '/settings': additional properties 'wrokers' not allowed",
        ),
        (
            {"images": {"trainer": {"repository": "x"}}},
            "at '/images/trainer': additional properties 'repository' not allowed",
        ),
        (
            {"operator": {"resources": {"limit": {}}}},
            "at '/operator/resources': additional properties 'limit' not allowed",
        ),
        ({"settings": {"workers": "8"}}, "at '/settings/workers': got string, want integer"),
        ({"settings": {"workers": 0}}, "at '/settings/workers': minimum: got 0, want 1"),
        (
            {"settings": {"podSecurity": "loose"}},
            "at '/settings/podSecurity': value must be one of 'restricted', 'image'",
        ),
        (
            {"operator": {"podLabels": {"a": 1}}},
            "at '/operator/podLabels/a': got number, want string",
        ),
        ({"namespaces": "research"}, "at '/namespaces': got string, want array"),
        (
            {"namespaces": ["a", "a"]},
            "at '/namespaces': items at 0 and 1 are equal",
        ),
        (
            {"monitoring": {"create": "yes"}},
            "at '/monitoring/create': value must be one of 'auto', 'always', 'never'",
        ),
        (
            {"images": {"registry": ""}},
            "images.registry is empty; say where the images were pushed to, as in --set"
            " images.registry=registry.example/team",
        ),
        (
            {"images": {"operator": {"digest": "sha256:12"}}},
            'images.operator.digest: "sha256:12" is not right; write sha256: and 64 hexadecimal'
            " digits",
        ),
        (
            {"settings": {"settling": "soon"}},
            'settings.settling: "soon" is not right; write a number with h, m, s or ms, as in 1h30m'
            " or 90s",
        ),
        (
            {"settings": {"storeMount": "store"}},
            'settings.storeMount: "store" is not right; write an absolute path below /, as in'
            " /store",
        ),
        (
            {"settings": {"writesPerSecond": 500}},
            "settings.writeBurst: 100 is below one second of writes (settings.writesPerSecond: 500)"
            "; use at least that",
        ),
        (
            {"namespaces": ["ok", "Research"]},
            'namespaces[1]: "Research" is not right; use at most 63 lower-case letters, digits and'
            " -, with a letter or digit at both ends",
        ),
        (
            {"networkPolicies": {"apiServer": {"cidrs": ["10.0.0.1"]}}},
            'networkPolicies.apiServer.cidrs[0]: "10.0.0.1" is not right; write an address and the'
            " length of its prefix, as in 10.0.0.1/32",
        ),
        (
            {"verifier": {"autoscaling": {"minReplicas": 9}}},
            "verifier.autoscaling.maxReplicas: 8 is below minReplicas (9); use at least that",
        ),
        (
            {"monitoring": {"docsUrl": "git.example/acereason"}},
            'monitoring.docsUrl: "git.example/acereason" is not right; write an address that ends'
            " with /, as in https://git.example/acereason-operator/blob/main/",
        ),
        (
            {"monitoring": {"interval": "5m"}},
            'monitoring.interval: "5m" is not right; write 1s to 60s, as in 30s: the alerts are'
            " made for a minute at most",
        ),
        (
            {"monitoring": {"interval": "0s"}},
            'monitoring.interval: "0s" is not right; write 1s to 60s, as in 30s',
        ),
        (
            {"operator": {"podLabels": {"app.kubernetes.io/name": "x"}}},
            "operator.podLabels: the chart itself sets app.kubernetes.io/name; leave it out",
        ),
        (
            {"verifier": {"podLabels": {"app.kubernetes.io/component": "x"}}},
            "verifier.podLabels: the chart itself sets app.kubernetes.io/component; leave it out",
        ),
        (
            {"monitoring": {"labels": {"app.kubernetes.io/managed-by": "x"}}},
            "monitoring.labels: the chart itself sets app.kubernetes.io/managed-by; leave it out",
        ),
        (
            {"dashboards": {"labels": {"helm.sh/chart": "x"}}},
            "dashboards.labels: the chart itself sets helm.sh/chart; leave it out",
        ),
        (
            {"test": {"storage": "1 GB"}},
            'test.storage: "1 GB" is not right; write an amount of bytes, as in 1Gi',
        ),
        (
            {"fullnameOverride": "Ace"},
            'fullnameOverride: "Ace" is not right; use at most 46 lower-case letters, digits and -,'
            " with a letter first and no - at the end",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value),
)
def test_a_wrong_value_is_refused_with_a_sentence(values: Values, said: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert said in done.stderr


def test_an_old_cluster_is_refused() -> None:
    done = template({}, "--kube-version", "1.30.9")
    assert "chart requires kubeVersion: >=1.31.0-0" in done.stderr
