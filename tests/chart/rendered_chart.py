"""What the chart makes of values, as objects; and how it refuses them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm_program import helm_program

CHART = Path(__file__).parents[2] / "charts/acereason-operator"
RELEASE, NAMESPACE = "ace", "acereason"

Values = dict[str, Any]
Object = dict[str, Any]

LEAST: Values = {"images": {"registry": "registry.example/team"}}
"""What everybody has to say."""


def helm(*words: str | Path, values: Values | None = None) -> "subprocess.CompletedProcess[str]":
    """What helm says without a cluster; values on its stdin, where given."""
    given = () if values is None else ("--values", "-")
    return subprocess.run(
        [helm_program(), *words, *given],
        input=None if values is None else json.dumps(values),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def template(
    values: Values,
    *words: str,
    chart: Path = CHART,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
) -> "subprocess.CompletedProcess[str]":
    """`helm template` with the least values and these."""
    return helm(
        *("template", release, chart, "--namespace", namespace, *words), values=with_least(values)
    )


def rendered(
    values: Values, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """The objects, those of `helm test` among them."""
    done = template(values, chart=chart, release=release, namespace=namespace)
    assert done.returncode == 0, done.stderr
    # The definition is 4,000 lines, for which the loader in Python takes a second.
    return [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]


def one(objects: list[Object], kind: str, end: str = "") -> Object:
    """The object of a kind whose name ends so."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(end)]
    assert len(found) == 1, [f"{o['kind']}/{o['metadata']['name']}" for o in found or objects]
    return found[0]


def environment(deployment: Object) -> dict[str, str]:
    """Variables of the one container."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def with_least(values: Values) -> Values:
    """These values, over the least."""
    return {**values, "images": {**LEAST["images"], **values.get("images", {})}}
