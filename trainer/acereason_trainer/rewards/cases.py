"""Cases that `acereason grade` is given: one JSON object per line.

    {"id", "kind": "math", "response", "answer"}
    {"id", "kind": "code", "response", "tests": [...], "time_limit"?, "memory_limit"?}

Tests, limits (CPU seconds, MiB) and any further column are those of a dataset's rows.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["math", "code"]
KINDS: tuple[Kind, ...] = ("math", "code")


class BadCase(ValueError):
    """A line cannot be graded; the text says why, `id` is what the line calls itself."""

    def __init__(self, sentence: str, id_: str | int | float | None = None) -> None:
        super().__init__(sentence)
        self.id = id_


@dataclass(frozen=True)
class Case:
    """A response and what it is checked against."""

    id: str | int | float
    kind: Kind
    response: str
    row: Mapping[str, Any]
    """The whole line."""


def read_case(line: bytes) -> Case:
    """The case on a line. Raises BadCase."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise BadCase(f"the line is not JSON ({e}); it must be one object") from e
    if not isinstance(raw, dict):
        raise BadCase(f"the line is {_what(raw)}; it must be one object")
    name = raw.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise BadCase('there is no "id"; it must be text or a number')
    if isinstance(name, float) and not math.isfinite(name):
        raise BadCase(f'"id" is {name}; it must be text or a number that JSON can hold')
    kind, response = raw.get("kind"), raw.get("response")
    if kind not in KINDS:
        raise BadCase(f'"kind" is {_what(kind)}; it must be "math" or "code"', name)
    if not isinstance(response, str):
        raise BadCase(f'"response" is {_what(response)}; it must be the text to grade', name)
    if kind == "math":
        answer = raw.get("answer")
        if isinstance(answer, bool) or not isinstance(answer, str | int | float) or answer == "":
            raise BadCase(f'"answer" is {_what(answer)}; it must be text or a number', name)
        if isinstance(answer, str) and not answer.strip():
            raise BadCase('"answer" is blank; it must be text or a number', name)
    return Case(name, kind, response, raw)


def _what(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, str):
        return repr(value) if len(value) < 40 else "text"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "an object")
