"""The CustomResourceDefinition of AceReasonRun, from the models.

The schema comes out of the models (`crd_schema`), the rules between fields out of `crd_rules`, and
this file puts the frame around them: names, columns of `kubectl get arr`, subresources.
"""

from pathlib import Path
from typing import Any

import yaml

from acereason_operator.api.crd_rules import LISTS, RULES, run_rules
from acereason_operator.api.crd_schema import Extras, Schema, structural_schema
from acereason_operator.api.run import GROUP, KIND, PLURAL, VERSION, AceReasonRun, AceReasonRunSpec
from acereason_operator.api.status import RunStatus

CRD_FILE = Path("charts/acereason-operator/files/crds/acereasonruns.yaml")

LONGEST_IN_STATUS = 16384
"""Characters of a text, entries of a map or list of status: far above what the operator writes,
since a status that is refused would stop a run."""

_COLUMNS = [
    ("State", "string", ".status.state", "What the run does", 0),
    ("Stage", "string", ".status.stage", "Stages in work", 0),
    ("Progress", "string", ".status.progress", "Stages done, and steps of the one in work", 0),
    ("Attempt", "string", ".status.attempt", "Attempts of the stages in work", 1),
    ("Reward", "string", ".status.reward", "Last mean reward", 1),
    ("Message", "string", ".status.message", "Why, and what to do", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was applied", 0),
]
"""(name, type, path, description, priority); priority 1 is shown by `-o wide`."""


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["arr"],
                "categories": ["acereason"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


def crd_text() -> str:
    """The CRD as the YAML file of the chart."""
    body = yaml.safe_dump(crd(), sort_keys=False, width=100, allow_unicode=True)
    return f"# Written from the models by `make generate`; do not edit.\n{body}"


def _column(name: str, type_: str, path: str, description: str, priority: int) -> Schema:
    return {
        "name": name,
        "type": type_,
        "jsonPath": path,
        "description": description,
        "priority": priority,
    }


def _schema() -> Schema:
    spec = Extras(rules=RULES, lists=LISTS, longest=1024, from_people=True)
    keyed = {"x-kubernetes-list-type": "map"}
    status = Extras(
        rules={},
        lists={
            (RunStatus, "conditions"): keyed | {"x-kubernetes-list-map-keys": ["type"]},
            (RunStatus, "stages"): keyed | {"x-kubernetes-list-map-keys": ["name"], "maxItems": 64},
        },
        longest=LONGEST_IN_STATUS,
        from_people=False,
    )
    return {
        "type": "object",
        "description": (AceReasonRun.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(AceReasonRunSpec, spec),
            "status": structural_schema(RunStatus, status),
        },
        "x-kubernetes-validations": [rule.dump() for rule in run_rules()],
    }
