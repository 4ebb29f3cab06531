"""What pydantic says about a file, as sentences that say what would be right."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from acereason_trainer.config.annotations import model_in
from acereason_trainer.config.forms import EXPLANATIONS
from acereason_trainer.config.problems import Path

_BOUNDS = {
    "greater_than_equal": ("ge", "is below {0}; use {0} or more"),
    "greater_than": ("gt", "is not above {0}; use more than {0}"),
    "less_than_equal": ("le", "is above {0}; use {0} or less"),
    "less_than": ("lt", "is not below {0}; use less than {0}"),
}
_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
}


def sentence(error: ErrorDetails, root: type[BaseModel]) -> str:
    """One sentence for one error of a model's parsing: what is wrong and what would be right."""
    kind = error["type"]
    if kind in _BY_KIND:
        return _BY_KIND[kind](error, root)
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted:
        return _wrong_type(error["input"], wanted)
    return f"{shown(error['input'])} is not valid: {error['msg']}"


def suggestion(path: Path, root: type[BaseModel]) -> str | None:
    """The known field that an unknown one at `path` most likely stands for."""
    close = get_close_matches(str(path[-1]).lower(), {k.lower() for k in _known(path[:-1], root)})
    by_lower = {k.lower(): k for k in _known(path[:-1], root)}
    return by_lower[close[0]] if close else None


def shown(value: Any) -> str:
    """A value as a message quotes it: as YAML writes it, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(error: ErrorDetails, root: type[BaseModel]) -> str:
    meant = suggestion(error["loc"], root)
    if meant:
        return f"there is no such field; did you mean {meant}?"
    known = ", ".join(_known(error["loc"][:-1], root))
    return f"there is no such field; here are: {known}"


def _missing(error: ErrorDetails, root: type[BaseModel]) -> str:
    *above, name = error["loc"]
    description = _known(tuple(above), root).get(str(name)) or ""
    about = description.split(". ")[0].replace("\n", " ").rstrip(".")
    return f"is missing; add it ({about[:1].lower()}{about[1:]})" if about else "is missing; add it"


def _choice(error: ErrorDetails, _: type[BaseModel]) -> str:
    choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    given = error["input"]
    close = get_close_matches(str(given), choices, n=1)
    if close and len(choices) > 1:
        right = f"did you mean {close[0]}? (possible: {', '.join(choices)})"
    else:
        right = f"use {' or '.join(choices)}"
    return f"{shown(given)} is not possible here; {right}"


def _form(error: ErrorDetails, _: type[BaseModel]) -> str:
    form = EXPLANATIONS[error["ctx"]["pattern"]]
    return f"{shown(error['input'])} has the wrong form; {form}"


def _no_keys(error: ErrorDetails, root: type[BaseModel]) -> str:
    known = ", ".join(_known(error["loc"], root))
    right = f"write keys below it: {known}" if known else "write keys and values below it"
    if error["input"] is None:
        return f"is empty; {right}"
    return f"{_named(error['input'])} stands here; {right}"


def _length(error: ErrorDetails, _: type[BaseModel]) -> str:
    context, size = error["ctx"], len(error["input"])
    unit = "characters" if error["type"].startswith("string") else "items"
    if size == 0:
        right = "write something" if unit == "characters" else "give at least 1 item"
        return f"is empty; {right}"
    if "min_length" in context:
        return f"has {size} {unit}; give at least {context['min_length']}"
    return f"has {size} {unit}; give at most {context['max_length']}"


def _bound(error: ErrorDetails, _: type[BaseModel]) -> str:
    key, text = _BOUNDS[error["type"]]
    return f"{shown(error['input'])} {text.format(_number(error['ctx'][key]))}"


def _wrong_type(given: Any, wanted: str) -> str:
    if given is None:
        return f"is empty; write {wanted}, or leave the key out"
    if wanted == "text" and isinstance(given, (bool, int, float)):
        seen = (
            f"{shown(given)} (YAML reads yes, no, on, off, y and n so)"
            if isinstance(given, bool)
            else f"the number {given}"
        )
        return f"{seen} stands where text is needed; put it in quotes"
    if wanted in ("a number", "a whole number") and isinstance(given, str):
        try:
            float(given)
        except ValueError:
            return f"{shown(given)} is text; write {wanted}"
        return f"{shown(given)} is text because of its quotes; write {wanted} without them"
    return f"{_named(given)} stands here; write {wanted}"


def _named(given: Any) -> str:
    if isinstance(given, dict):
        return "a map of keys"
    if isinstance(given, (list, tuple)):
        return "a list"
    return shown(given)


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _known(path: Path, root: type[BaseModel]) -> dict[str, str | None]:
    """Outside names of the fields of the model at `path`, each with its description."""
    model = _model_at(path, root)
    if model is None:
        return {}
    return {info.alias or name: info.description for name, info in model.model_fields.items()}


def _model_at(path: Path, root: type[BaseModel]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    for part in path:
        if isinstance(part, int):
            continue
        if model is None:
            return None
        inside = {info.alias or n: info.annotation for n, info in model.model_fields.items()}
        model = model_in(inside.get(part))
    return model


_BY_KIND: dict[str, Callable[[ErrorDetails, type[BaseModel]], str]] = {
    "extra_forbidden": _unknown,
    "missing": _missing,
    "value_error": lambda error, _: str(error["ctx"]["error"]),
    "literal_error": _choice,
    "string_pattern_mismatch": _form,
    "model_type": _no_keys,
    "model_attributes_type": _no_keys,
    "dict_type": _no_keys,
    **dict.fromkeys(["too_short", "too_long", "string_too_short", "string_too_long"], _length),
    **dict.fromkeys(_BOUNDS, _bound),
}
