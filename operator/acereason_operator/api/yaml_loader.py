"""YAML with kubectl's meaning, and the line of everything in it.

kubectl reads a file with go-yaml v2 and turns it into JSON (sigs.k8s.io/yaml). PyYAML scans the
same syntax but gives other values: `1e-6` is a string to it, `010` and `y` differ. So PyYAML only
finds the nodes here; the values come from go-yaml's rules, and a test compares them with what the
Go package gives for a corpus (tests/api/kubectl_yaml). On purpose stricter in two points: a key
that stands twice in one mapping is a problem, where kubectl silently takes the last, and so is text
that it silently leaves unread.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import yaml
from acereason_trainer.config.problems import Path, Problem, path_text
from acereason_trainer.config.yaml_numbers import FLOAT
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

# A document of a few lines can stand for billions of values through aliases of aliases.
LARGEST_DOCUMENT = 50_000

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"
_MERGE = "<<"
_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"], True),
    **dict.fromkeys(["on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE"], False),
    **dict.fromkeys(["off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), 10),
)
_FLOAT = re.compile(FLOAT)
_LARGEST_SINGLE = 3.4028234e38
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_SENTENCES = {
    "found character '\\t' that cannot start any token": "a tab indents this line; YAML wants "
    "spaces here",
    "mapping values are not allowed here": "a colon stands where none may; indent this line like "
    'the one above, or put the value in quotes if it holds ": "',
    "could not find expected ':'": "this line is not `key: value`; is the colon, or the space "
    "after it, missing?",
    "expected <block end>, but found '<block mapping start>'": "this line is indented differently "
    "from the ones beside it; align it with them",
    "expected <block end>, but found '-'": "this dash is indented differently from the list above; "
    "align it with them",
}


class Origin(NamedTuple):
    """Where a value is written."""

    file: str
    """File, or the override as it was given."""
    line: int | None
    """From 1; None for an override."""


@dataclass(frozen=True)
class Document:
    """One YAML document as JSON-able data, with the lines it came from."""

    name: str
    """File name, for messages."""
    data: Any
    """Maps with string keys, lists, strings, numbers, booleans, None."""
    origins: dict[Path, Origin] = field(default_factory=dict)
    """Where the key or list item at each path is written."""
    problems: list[Problem] = field(default_factory=list)
    """What YAML itself forbids here; the data is None or incomplete then."""

    def problem(self, path: Path, message: str) -> Problem:
        """A problem at a path, with the file and line of the nearest thing that is written."""
        nearest = (path[:end] for end in range(len(path), -1, -1) if path[:end] in self.origins)
        origin = self.origins.get(next(nearest, ()), Origin(self.name, None))
        return Problem(origin.file, origin.line, path_text(path), message)


def load_documents(text: str, name: str) -> list[Document]:
    """Read every non-empty document of a file as kubectl would; `name` is for messages.

    Never raises for bad YAML: what is wrong stands in each document's `problems`.
    """
    documents: list[Document] = []
    try:
        for node in _compose(text):
            reading = _Reading(name)
            data = reading.value(node, ())
            if data is not None or reading.problems:
                documents.append(Document(name, data, reading.origins, reading.problems))
    except yaml.YAMLError as error:
        documents.append(Document(name, None, {}, [_syntax_problem(error, name, text)]))
    except RecursionError:
        deep = Problem(name, None, "", "values are nested too deeply to be read; is it a run?")
        documents.append(Document(name, None, {}, [deep]))
    return documents


def read_scalar(text: str) -> Any:
    """Value of one plain (unquoted) scalar: `1e-6` is 0.000001, `on` is True, `abc` is "abc"."""
    value = _resolve(text)
    # Go writes a whole float below 1e21 without a point, so 1.0 is an integer to whoever reads it.
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def _resolve(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if not re.match(r"[-+.0-9]", text):
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(digits):
            number = int(re.sub(r"(?i)^([-+]?)0[xob]?(?=.)", r"\1", digits), base)
            if -(2**63) <= number < 2**64:
                return number
    if not _FLOAT.fullmatch(digits):
        return text
    value = float(digits)
    return text if math.isinf(value) else value


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to its nodes; no tag is guessed from a scalar's text."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """`plain` for an unquoted scalar without a tag of its own."""
        if kind is ScalarNode and implicit[0]:
            return _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML does, but an anchor may be set again, and `!` makes text, as in go-yaml."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(getattr(event, "anchor", None), None)
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!":
            event.tag = f"{_TAG}str"
        return super().compose_node(parent, index)

    def scan_to_next_token(self) -> None:
        """As PyYAML does, but a tab separates like a space where it cannot be indentation."""
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()


def _compose(text: str) -> Iterator[Node]:
    loader = _Loader(text)
    while loader.check_node():
        node = loader.get_node()
        if node is not None:
            yield node


class _Reading:
    """Turns the nodes of one document into values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origins: dict[Path, Origin] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: Node, path: Path) -> Any:
        self._count += 1
        if self._count > LARGEST_DOCUMENT or id(node) in self._open:
            why = (
                "an anchor contains itself"
                if id(node) in self._open
                else (f"aliases stand for more than {LARGEST_DOCUMENT} values")
            )
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)
        self.origins.setdefault(path, Origin(self.name, node.start_mark.line + 1))
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
            assert isinstance(node, ScalarNode), "nodes are maps, lists or scalars"
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        written: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _PLAIN and key_node.value == _MERGE:
                self._merge(value_node, path, out)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in written:
                self._add(
                    line,
                    (*path, key),
                    f"is already set on line {written[key]}; "
                    "a key may stand once: remove one of them",
                )
                continue
            written[key] = line
            self.origins[(*path, key)] = Origin(self.name, line)
            out[key] = self.value(value_node, (*path, key))
        return out

    def _merge(self, node: Node, path: Path, out: dict[str, Any]) -> None:
        # go-yaml v2 merges where `<<` stands: it overwrites keys above it, keys below overwrite it.
        parts = node.value[::-1] if isinstance(node, SequenceNode) else [node]
        for part in parts:
            if not isinstance(part, MappingNode):
                self._add(
                    node.start_mark.line + 1,
                    path,
                    "`<<` merges maps; give it an alias of a map, or a list of such aliases",
                )
                return
            out.update(self.value(part, path))

    def _key(self, node: Node, path: Path) -> str | None:
        line = node.start_mark.line + 1
        if not isinstance(node, ScalarNode):
            self._add(line, path, "a map or a list cannot be a key; write a name")
            return None
        key = _resolve(node.value) if node.tag == _PLAIN else self._scalar(node, path)
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, float):
            return _go_float(key)
        if isinstance(key, (str, int)):
            return str(key)
        self._add(line, path, f"{node.value or 'nothing'} cannot be a key; write a name")
        return None

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        if node.tag == _PLAIN:
            value = read_scalar(node.value)
        elif node.tag == f"{_TAG}binary":
            value = self._binary(node, path)
        elif node.tag.removeprefix(_TAG) in _TYPES:
            value = self._tagged(node, path)
        else:
            value = node.value
        if isinstance(value, float) and not math.isfinite(value):
            self._add(
                node.start_mark.line + 1,
                path,
                f"{node.value} is no number that JSON has; write a finite number",
            )
            return None
        return value

    def _tagged(self, node: ScalarNode, path: Path) -> Any:
        value, name = read_scalar(node.value), node.tag.removeprefix(_TAG)
        if isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool)):
            return value
        self._add(
            node.start_mark.line + 1,
            path,
            f"{node.value!r} is no {name}; remove the tag !!{name} or change the value",
        )
        return None

    def _binary(self, node: ScalarNode, path: Path) -> str | None:
        try:
            return base64.b64decode(node.value).decode()
        except (binascii.Error, UnicodeDecodeError):
            self._add(node.start_mark.line + 1, path, "!!binary needs base64 of UTF-8 text")
            return None

    def _add(self, line: int, path: Path, message: str) -> None:
        self.problems.append(Problem(self.name, line, path_text(path), message))


def _go_float(value: float) -> str:
    """A float as Go's FormatFloat(value, 'g', -1, 32) writes it, which is how keys are made."""
    if math.isnan(value):
        return ".nan"
    if abs(value) > _LARGEST_SINGLE:
        return ".inf" if value > 0 else "-.inf"
    texts = (f"{value:.{digits}e}" for digits in range(9))
    shortest = next((t for t in texts if _single(float(t)) == _single(value)), f"{value:.8e}")
    return shortest if not -4 <= int(shortest.split("e")[1]) < 6 else f"{Decimal(shortest):f}"


def _single(value: float) -> bytes:
    return struct.pack("f", value)


def _syntax_problem(error: yaml.YAMLError, name: str, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(
            name,
            line,
            "",
            f"character #x{ord(text[error.position]):04x} is not allowed in YAML; remove it",
        )
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(name, None, "", f"not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    said = (error.problem or error.context or "").strip()
    sentence = _SENTENCES.get(said, f"not YAML: {said}")
    return Problem(name, None if mark is None else mark.line + 1, "", sentence)
