"""From a pydantic model to the schema of a CustomResourceDefinition.

The API server wants a structural schema: every value has one type, nothing is referred to, and what
JSON Schema says with `anyOf` is said with CEL (`crd_rules`). It also wants to know how long
everything can get, since it works out what each rule may cost before it accepts one.

Defaults are written for single values inside objects that a user has written, and for no object: an
object's default may differ from what its fields default to (`sft.optimizer`), so that adding a key
to it later would mean something else than writing the same file at once; and a default member of a
union would stand beside the one that is written next.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acereason_trainer.config.forms import (
    COLUMN,
    DIGEST,
    DNS_LABEL,
    EXPLANATIONS,
    SHORT_NAME,
    STAGE_NAME,
)
from pydantic import BaseModel

Schema = dict[str, Any]

LENGTHS = {DNS_LABEL: 63, STAGE_NAME: 40, SHORT_NAME: 40, COLUMN: 63, DIGEST: 71}
"""Longest text of each form that bounds its own length."""

_KEPT = (
    "type", "enum", "format", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What must hold for an object: `x-kubernetes-validations`."""

    expression: str
    """CEL; `self` is the object."""
    message: str
    """What is wrong and what would be right. (Fixed: the API server refuses to work out a message
    with a number in it, since it does not know how long that would get.)"""
    field: str = ""
    """The field below the object that it is about, as in `.warmupSteps`."""
    worked_out: str = ""
    """CEL for a better message, where several things can be wrong."""

    def dump(self) -> Schema:
        """As in the schema."""
        parts = {
            "rule": self.expression,
            "message": self.message,
            "messageExpression": self.worked_out,
            "fieldPath": self.field,
        }
        return {name: text for name, text in parts.items() if text}


@dataclass(frozen=True)
class Extras:
    """What the API server is told beyond what the models' types say."""

    rules: Mapping[type[BaseModel], Sequence[Rule]]
    """Rules of each model's objects."""
    lists: Mapping[tuple[type[BaseModel], str], Schema]
    """By model and field: what kind of list it is (`x-kubernetes-list-type`)."""
    longest: int
    """Bound of texts, lists and maps that have none of their own."""
    from_people: bool
    """Whether people write it. Then forms are checked, single values get their defaults, and null
    may stand only where it means something; what the operator writes is not judged so."""


def structural_schema(model: type[BaseModel], extras: Extras) -> Schema:
    """The structural schema of a model's objects."""
    return _Writer(model, extras).root()


class _Writer:
    """Writes the schema of one model."""

    def __init__(self, model: type[BaseModel], extras: Extras) -> None:
        self._root = model
        self._extras = extras
        schema = model.model_json_schema(by_alias=True, mode="validation")
        self._definitions = schema.pop("$defs", {})
        self._schema = schema
        self._rules = {m.__name__: rules for m, rules in extras.rules.items()}
        self._lists = {(m.__name__, field): kind for (m, field), kind in extras.lists.items()}

    def root(self) -> Schema:
        return self._object(self._root.__name__, self._schema)

    def _node(self, schema: Schema) -> Schema:
        about = schema.get("description", "")
        null = False
        if "anyOf" in schema:
            choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
            null = len(choices) < len(schema["anyOf"])
            # A null in a file means something only where it differs from the default.
            means_something = schema.get("default") is not None
            null = null and (means_something or not self._extras.from_people)
            inner = self._choice(choices)
        else:
            inner = self._plain(schema)
        inner["description"] = _text(about, inner.get("description", ""))
        default = schema.get("default")
        if self._extras.from_people and not null and _is_single(default):
            inner["default"] = default
        if null:
            inner["nullable"] = True
        return {key: value for key, value in inner.items() if value != ""}

    def _choice(self, choices: list[Schema]) -> Schema:
        if len(choices) == 1:
            return self._node(choices[0])
        assert {choice["type"] for choice in choices} == {"string", "integer"}, "an amount"
        text = next(choice for choice in choices if choice["type"] == "string")
        # A keyword and not CEL, to which either type is of unknown size.
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": text["maxLength"],
            "pattern": text["pattern"],
            "minimum": 0,
        }

    def _plain(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            return self._object(name, self._definitions[name])
        if schema.get("type") == "array":
            return self._list(schema)
        if schema.get("type") == "object":
            return self._map(schema)
        return self._value(schema)

    def _object(self, name: str, schema: Schema) -> Schema:
        out: Schema = {"type": "object", "description": _text(schema.get("description", ""))}
        out["properties"] = {
            field: self._node(inner) | self._lists.get((name, field), {})
            for field, inner in schema["properties"].items()
        }
        if schema.get("required"):
            out["required"] = schema["required"]
        if self._rules.get(name):
            out["x-kubernetes-validations"] = [rule.dump() for rule in self._rules[name]]
        return out

    def _list(self, schema: Schema) -> Schema:
        bounds = {"maxItems": self._extras.longest} | _kept(schema)
        return bounds | {"items": self._node(schema["items"])}

    def _map(self, schema: Schema) -> Schema:
        if schema["additionalProperties"] is True:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        bounds = {"maxProperties": self._extras.longest} | _kept(schema)
        return bounds | {"additionalProperties": self._node(schema["additionalProperties"])}

    def _value(self, schema: Schema) -> Schema:
        out = _kept(schema)
        if "const" in schema:
            out["enum"] = [schema["const"]]
        for bound in ("Minimum", "Maximum"):
            if f"exclusive{bound}" in schema:
                out |= {
                    bound.lower(): schema[f"exclusive{bound}"],
                    f"exclusive{bound}": True,
                }
        if out["type"] == "string" and "enum" not in out:
            longest = LENGTHS.get(schema.get("pattern", ""), self._extras.longest)
            out = {"maxLength": longest} | out
        return out | _form(schema) if self._extras.from_people else out


def _form(schema: Schema) -> Schema:
    """The form of a text as a rule, since a rule can say in words what is wrong."""
    if "pattern" not in schema:
        return {}
    form = schema["pattern"]
    rule = Rule(f"self.matches({_quoted(form)})", f"has the wrong form; {EXPLANATIONS[form]}")
    return {"x-kubernetes-validations": [rule.dump()]}


def _kept(schema: Schema) -> Schema:
    return {key: schema[key] for key in _KEPT if key in schema}


def _is_single(default: Any) -> bool:
    if isinstance(default, list):
        return bool(default) and all(isinstance(item, (int, float, str)) for item in default)
    return default is not None and not isinstance(default, dict)


def _text(*paragraphs: str) -> str:
    """A description: paragraphs without line breaks of their own, fields under outside names."""
    whole = [" ".join(part.split()) for part in "\n\n".join(paragraphs).split("\n\n")]
    text = "\n\n".join(dict.fromkeys(part for part in whole if part))
    return re.sub(r"`[a-z]+(_[a-z]+)+`", lambda found: _camel(found[0]), text)


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)


def _quoted(text: str) -> str:
    """A text as a CEL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
