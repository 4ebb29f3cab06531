"""The CRD as a file: what the API server demands of it and what we promise of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from acereason_operator.api.crd import crd, crd_text
from acereason_operator.api.crd_rules import LISTS, RULES
from acereason_operator.api.run import AceReasonRunSpec
from acereason_trainer.config.annotations import model_in
from pydantic import BaseModel

SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
FREE_FORM = ("podTemplate", "preparePodTemplate", "valueFrom")

Path = tuple[str, ...]


def nodes(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, (*path, name))
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], (*path, key))


NODES = [(path, node) for path, node in nodes(SCHEMA) if path[:1] in (("spec",), ("status",))]


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and every model in it."""
    yield model
    for info in model.model_fields.values():
        inner = model_in(info.annotation)
        if inner is not None:
            yield from models(inner)


def test_the_schema_is_structural() -> None:
    for path, node in NODES:
        assert not node.keys() & {"$ref", "anyOf", "oneOf", "allOf", "not", "title"}, path
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path


def test_only_what_kubernetes_itself_checks_is_free_of_form() -> None:
    free = {path[-1] for path, node in NODES if "x-kubernetes-preserve-unknown-fields" in node}
    assert free == set(FREE_FORM)


@pytest.mark.parametrize(
    ("type_", "bound"),
    [("string", "maxLength"), ("array", "maxItems"), ("object", "maxProperties")],
)
def test_everything_is_bounded(type_: str, bound: str) -> None:
    seen = 0
    for path, node in NODES:
        bounds_itself = (
            "enum" in node or "properties" in node or "x-kubernetes-preserve-unknown-fields" in node
        )
        if node.get("type") == type_ and not bounds_itself:
            seen += 1
            assert node[bound] > 0, path
    assert seen


def test_everything_says_what_it_is() -> None:
    silent = [path for path, node in NODES if "description" not in node]
    assert [p for p in silent if p[-1] not in ("items", "additionalProperties")] == []


def test_every_rule_between_fields_has_its_cel() -> None:
    """A new validator in a model fails here until the API server knows the rule, too."""
    known = {*RULES, *(model for model, _ in LISTS)}
    with_rules = {m for m in models(AceReasonRunSpec) if m.__pydantic_decorators__.model_validators}
    assert {model.__name__ for model in with_rules - known} == set()


def test_no_object_and_no_member_of_a_union_has_a_default() -> None:
    for path, node in NODES:
        if node.get("type") == "object":
            assert "default" not in node, path


def test_kubectl_can_note_it_in_an_annotation() -> None:
    """`kubectl apply` keeps what it applied in an annotation, of at most 256 KiB."""
    assert len(json.dumps(crd())) < 256 * 1024


def test_nothing_of_python_shows() -> None:
    assert "None" not in crd_text()
    assert "learning_rate" not in crd_text()
