"""Kubeconform finds nothing in what the chart renders: its text, as Helm hands it over.

The server's dry run (`test_chart_on_a_server.py`) sees more of an object, but not what a reader of
YAML has made of the text before: a key that is there twice, for one.
"""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.chart.kubeconform_program import kubeconform_program
from tests.chart.monitor_definitions import monitor_definitions
from tests.chart.openapi_schemas import FILE_NAME, write_schemas, write_schemas_of_definition
from tests.chart.rendered_chart import Values, one, template
from tests.chart.value_sets import VALUE_SETS
from tests.controlplane.control_plane import ControlPlane


def manifest(values: Values) -> str:
    """What Helm renders, and the run that `helm test` makes, which lies in a ConfigMap."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    objects = [body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body]
    return f"{done.stdout}\n---\n{one(objects, 'ConfigMap', '-test')['data']['run.yaml']}"


@pytest.fixture(scope="module")
def schemas(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a schema for every kind that any values make."""
    kinds = {
        (body["apiVersion"], body["kind"])
        for values in VALUE_SETS.values()
        for body in yaml.load_all(manifest(values), yaml.CSafeLoader)
        if body and not body["apiVersion"].startswith("monitoring.coreos.com/")
    }
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(control_plane, kinds, folder)
    for definition in monitor_definitions():
        write_schemas_of_definition(definition, folder)
    return folder


def kubeconform(text: str, schemas: Path) -> "subprocess.CompletedProcess[str]":
    """What it says of a manifest."""
    where = ("-schema-location", schemas / FILE_NAME)
    return subprocess.run(
        [kubeconform_program(), "-strict", *where],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", VALUE_SETS)
def test_kubeconform_has_nothing_to_say(name: str, schemas: Path) -> None:
    done = kubeconform(manifest(VALUE_SETS[name]), schemas)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def everything() -> str:
    """The manifest with an object of every kind."""
    return manifest(VALUE_SETS["everything"])


GRACE = "terminationGracePeriodSeconds: 40"


@pytest.mark.parametrize(
    ("written", "mistaken", "said"),
    [
        ("enableServiceLinks:", "enableServiceLink:", "'enableServiceLink' not allowed"),
        ("maxUnavailable:", "maxUnavailible:", "'maxUnavailible' not allowed"),
        ("averageUtilization:", "averageUtilisation:", "'averageUtilisation' not allowed"),
        ("namespaceSelector:", "namespacesSelector:", "'namespacesSelector' not allowed"),
        ("resourceNames:", "resourcesNames:", "'resourcesNames' not allowed"),
        ("additionalPrinterColumns:", "printerColumns:", "'printerColumns' not allowed"),
        ("podMetricsEndpoints:", "podMetricEndpoints:", "'podMetricEndpoints' not allowed"),
        ("expr:", "expression:", "'expression' not allowed"),
        ("accessMode:", "accessModes:", "'accessModes' not allowed"),
        ("replicas: 3", 'replicas: "3"', "got string, want integer"),
        ("kind: NetworkPolicy", "kind: NetworkPolice", "could not find schema for NetworkPolice"),
        (GRACE, f"{GRACE}\n      {GRACE}", 'key "terminationGracePeriodSeconds" already set'),
    ],
    ids=lambda text: text.split(":")[0],
)
def test_a_mistake_would_be_seen(
    written: str, mistaken: str, said: str, schemas: Path, everything: str
) -> None:
    assert written in everything
    done = kubeconform(everything.replace(written, mistaken), schemas)
    assert done.returncode == 1
    assert said in done.stdout
