"""JSON schemas of kinds, made of what an API server publishes about them.

The server describes every kind it serves, those of custom resources too, as OpenAPI 3.0, whose
schemas are JSON Schema draft 4 but for words that a validator ignores. So objects are held against
the version that the project is tested with, and nothing is fetched from anywhere.
"""

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.chart.rendered_chart import Object
from tests.controlplane.control_plane import ControlPlane

FILE_NAME = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"
"""The name of a kind's file, as kubeconform is told it. Of the core group, both are `v1`."""


def write_schemas(
    control_plane: ControlPlane, kinds: Iterable[tuple[str, str]], folder: Path
) -> None:
    """A schema that refuses unknown fields, in a file for each (apiVersion, kind).

    Raises urllib.error.HTTPError (404) for a group that the server does not have.
    """
    for api_version, kind in kinds:
        group, _, version = api_version.rpartition("/")
        root = "apis" if group else "api"
        published = control_plane.request("GET", f"/openapi/v3/{root}/{api_version}")
        schema = strict_schema(published, {"group": group, "version": version, "kind": kind})
        file_of(group, version, kind, folder).write_text(json.dumps(schema), encoding="utf-8")


def write_schemas_of_definition(definition: Object, folder: Path) -> None:
    """The same for a kind that the server does not have, by its CustomResourceDefinition."""
    group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
    for version in definition["spec"]["versions"]:
        schema = deepcopy(version["schema"]["openAPIV3Schema"])
        refuse_unknown_fields(schema)
        file_of(group, version["name"], kind, folder).write_text(
            json.dumps(schema), encoding="utf-8"
        )


def file_of(group: str, version: str, kind: str, folder: Path) -> Path:
    """Where kubeconform looks for a kind's schema."""
    return folder / f"{group or version}_{version}_{kind.lower()}.json"


def strict_schema(published: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    """Standalone schema of a kind, where all of its API group is published.

    Draft 4 ignores what stands beside `$ref`, hence the `allOf`.
    """
    components = published["components"]
    (name,) = (
        name
        for name, schema in components["schemas"].items()
        if named in schema.get("x-kubernetes-group-version-kind", ())
    )
    refuse_unknown_fields(components)
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}], "components": components}


def refuse_unknown_fields(node: Any) -> None:
    """Close every object that lists its fields, unless its kind keeps unknown ones.

    Members of `oneOf` and the like say more about an object that is described around them: they
    have no type of their own, and stay open.
    """
    if isinstance(node, list):
        for member in node:
            refuse_unknown_fields(member)
    if not isinstance(node, dict):
        return
    for member in node.values():
        refuse_unknown_fields(member)
    keeps = node.get("x-kubernetes-preserve-unknown-fields") is True
    if node.get("type") == "object" and "properties" in node and not keeps:
        node.setdefault("additionalProperties", False)
