"""The reference page: every field of a run and of each stage kind, from the models."""

import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from acereason_trainer.config.annotations import model_in
from acereason_trainer.config.forms import DIGEST, DURATION, QUANTITY
from acereason_trainer.config.model import Model
from acereason_trainer.config.stage_file import OUTPUT_KIND, StageSettings
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from acereason_operator.api.run import GROUP, KIND, VERSION, AceReasonRun, AceReasonRunSpec, Stage

_FORMS = {DURATION: "duration", QUANTITY: "amount", DIGEST: "digest"}
_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean"}


def reference() -> str:
    """A page of Markdown: every field of a run and of each stage kind."""
    kinds = {
        info.alias or name: model_in(info.annotation)
        for name, info in StageSettings.model_fields.items()
    }
    sections = [
        _HEAD,
        "## The run\n\n"
        + _first_paragraph(AceReasonRunSpec)
        + "\n\n"
        + _table(AceReasonRun, "", stop_at={"spec.stages"}),
        "## Every stage\n\n"
        + _first_paragraph(Stage)
        + "\n\n"
        + _table(Stage, "", stop_at=set(kinds)),
    ]
    for kind, model in kinds.items():
        assert model is not None, "every kind has its settings"
        about = f"{_first_paragraph(model)}\n\nPublishes: {OUTPUT_KIND[kind]}."
        sections.append(f"## `{kind}`\n\n{about}\n\n{_table(model, '', stop_at=set())}")
    return "\n\n".join(sections) + "\n"


_HEAD = f"""# Reference of `{KIND}`

Every field of `{GROUP}/{VERSION}`, kind `{KIND}`. Written from the models by `make generate`; do
not edit. A field without a default must be given. Fields marked † change how a stage runs and not
what comes out: an edit of them reuses finished work. An unknown field is an error.

Durations are written `1h30m`, `90s`, `500ms`; amounts as in Kubernetes: `500m`, `16Gi`."""


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _table(model: type[BaseModel], prefix: str, stop_at: set[str]) -> str:
    rows = "\n".join(_rows(model, prefix, stop_at))
    return f"| field | type | default | what it is |\n|---|---|---|---|\n{rows}"


def _rows(model: type[BaseModel], prefix: str, stop_at: set[str]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        if path in stop_at and not prefix and model is Stage:
            continue
        inner = model_in(info.annotation)
        yield _row(path, info)
        if inner is not None and path not in stop_at:
            items = "[]" if _is_list(info.annotation) else ""
            yield from _rows(inner, f"{path}{items}.", stop_at)


def _row(path: str, info: FieldInfo) -> str:
    extra = info.json_schema_extra
    mark = " †" if isinstance(extra, dict) and extra.get("x-acereason-in-key") is False else ""
    text = " ".join((info.description or "").split()).replace("|", "\\|")
    return f"| `{path}`{mark} | {_type(info)} | {_default(info)} | {text} |"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, Model):
        given = value.model_dump(mode="json", exclude_unset=True, by_alias=True)
        return f"`{_yaml(given)}`" if given else ""
    return f"`{_yaml(value)}`".replace("\n", "\\n")


def _yaml(value: Any) -> str:
    """A value in YAML's flow form."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if isinstance(value, str) and value.isidentifier():
        return value
    return json.dumps(value, ensure_ascii=False)


def _type(info: FieldInfo) -> str:
    patterns = [getattr(item, "pattern", None) for item in info.metadata]
    words = next((_FORMS[p] for p in patterns if p in _FORMS), _type_words(info.annotation))
    limits = [_limit(item) for item in info.metadata]
    return ", ".join([words, *[limit for limit in limits if limit]])


def _limit(constraint: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        value = getattr(constraint, name, None)
        if value is not None:
            return f"{sign} {value}"
    longest = getattr(constraint, "max_length", None)
    return f"at most {longest}" if longest is not None else ""


def _type_words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        words = [_type_words(a) for a in arguments if a is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin is list:
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return f"map of {_type_words(arguments[1])}"
    return _WORDS.get(annotation, "object")


def _is_list(annotation: Any) -> bool:
    if typing.get_origin(annotation) is list:
        return True
    return any(_is_list(part) for part in typing.get_args(annotation))
