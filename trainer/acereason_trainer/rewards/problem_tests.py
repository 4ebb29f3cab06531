"""The tests of code problems: read from a row once, packed once, and then known by name.

A row's test says what a program is given and what must come of it, in one of three forms:

    {"input": text, "output": text}      with a `starter` in the row: arguments and result of a call
    {"stdin": text, "stdout": text}
    {"call": name, "args": [...], "expected": value}

and may say how many CPU `seconds` the reference solution took. Inside it is always a `Test`.

A problem's tests can be megabytes, and every response to it is checked against all of them. So they
are packed and digested once for each row, and a worker that has unpacked them is told only their
digest from then on. Both sides remember what they used last, up to a number of bytes. What is
packed is JSON: to unpack it can run nothing.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from acereason_trainer.rewards.plain_json import is_text, loads

PACKED_BYTES = 256 << 20
"""Packed tests that the trainer remembers."""
UNPACKED_BYTES = 64 << 20
"""Tests that each worker remembers, by their packed size."""

_FORMS = (
    '{"input", "output"}, {"stdin", "stdout"} or {"call", "args", "expected"}'
    ' (and "seconds" where the reference solution was timed)'
)

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class BadTests(ValueError):
    """A row's tests cannot be run; the text says which and why."""


class Test(NamedTuple):
    """One test."""

    stdin: str
    """What the program reads; for a call the JSON text of the argument list."""
    expected: str
    """What it must write; for a call the JSON text of the result."""
    call: str | None = None
    """`function` or `Class.method` to call; None: a program from stdin to stdout."""
    seconds: float | None = None
    """CPU seconds of the reference solution, where they are known."""


Test.__test__ = False  # type: ignore[attr-defined] # pytest takes the name for one of its own

Tests = tuple[Test, ...]


def read_tests(tests: object, entry: str | None = None) -> Tests:
    """The tests of a row; `entry` is the function that its starter names.

    Raises BadTests for what is no list of tests.
    """
    checked = require_form(tests)
    if not checked:
        raise BadTests(f"there are no tests; give at least one {_FORMS}")
    return tuple(_read(test, f"tests[{n}]", entry) for n, test in enumerate(checked))


def require_form(tests: object) -> Sequence[Mapping[str, Any]]:
    """Raise BadTests unless it is a list of objects that each have one of the forms."""
    if not isinstance(tests, list | tuple):
        raise BadTests(f"tests are {_kind(tests)}; they must be a list of {_FORMS}")
    for n, test in enumerate(tests):
        if not isinstance(test, Mapping) or _form(test) is None:
            raise BadTests(f"tests[{n}] must be an object of one of the forms {_FORMS}")
    return tests


def _form(test: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the form; a column that parquet fills with null is not there."""
    for form in (("call", "args", "expected"), ("stdin", "stdout"), ("input", "output")):
        if test.get(form[0]) is not None and all(name in test for name in form):
            return form
    return None


def _read(test: Mapping[str, Any], where: str, entry: str | None) -> Test:
    seconds = _seconds(test.get("seconds"), f"{where}.seconds")
    form = _form(test)
    assert form is not None
    if form[0] == "call":
        name, arguments = test["call"], test["args"]
        if not isinstance(name, str) or not _is_callable_name(name):
            raise BadTests(f"{where}.call is {name!r:.40}; it must be `function` or `Class.method`")
        if not isinstance(arguments, list):
            raise BadTests(f"{where}.args is {_kind(arguments)}; it must be a list")
        expected = _json(test["expected"], f"{where}.expected")
        _refuse_nan(expected, f"{where}.expected")
        return Test(_json(arguments, f"{where}.args"), expected, name, seconds)
    given, output = (test[name] for name in form)
    if form[0] == "input" and entry is not None:
        arguments = _arguments(given, f"{where}.input")
        return Test(arguments, _result(output, f"{where}.output"), entry, seconds)
    given, output = (_text(test[name], f"{where}.{name}") for name in form)
    return Test(given, output, None, seconds)


def _text(value: object, where: str) -> str:
    if isinstance(value, str):
        if not is_text(value):
            raise BadTests(
                f"{where} has half a surrogate pair; it must be text that UTF-8 can hold"
            )
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise BadTests(f"{where} is {_kind(value)}; it must be text")


def _arguments(value: object, where: str) -> str:
    if isinstance(value, str):
        try:
            parsed = loads(value)
        except ValueError as e:
            raise BadTests(
                f"{where} is not JSON ({e}); for a call it must be the JSON list of arguments"
            ) from e
        if isinstance(parsed, list):
            return value
    elif isinstance(value, list):
        return _json(value, where)
    raise BadTests(f"{where} must be the list of arguments of the call, or its JSON text")


def _result(value: object, where: str) -> str:
    """JSON text as it is; text that is no JSON is a string that the call returns."""
    text = value if isinstance(value, str) else _json(value, where)
    try:
        loads(text)
    except ValueError:
        return json.dumps(text)
    _refuse_nan(text, where)
    return text


def _refuse_nan(result: str, where: str) -> None:
    """NaN equals nothing, so every program would be wrong."""

    def constant(name: str) -> None:
        if name == "NaN":
            raise BadTests(f"{where} holds NaN, which no result equals; give what must come out")

    if "NaN" in result:
        json.loads(result, parse_constant=constant)


def _is_callable_name(name: str) -> bool:
    parts = name.split(".")
    return len(parts) <= 2 and all(part.isidentifier() for part in parts)


def _json(value: object, where: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as e:
        raise BadTests(f"{where} cannot be written as JSON ({e})") from e


def _seconds(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6:
        return float(value)
    raise BadTests(f"{where} must be the CPU seconds of the reference solution, not {value!r:.40}")


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number"}
    kinds |= {list: "a list", dict: "an object", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


@dataclass(frozen=True)
class PackedTests:
    """Tests as they travel to a worker."""

    digest: bytes
    """Names them by their content."""
    content: bytes
    calls: tuple[str, ...] = ()
    """The functions that they call; empty unless each of them is a call."""


def pack(tests: Tests) -> PackedTests:
    """The tests as bytes, and their name."""
    content = json.dumps(tests, separators=(",", ":")).encode()
    calls = {test.call for test in tests}
    called = () if None in calls else tuple(sorted(call for call in calls if call))
    return PackedTests(hashlib.blake2b(content, digest_size=16).digest(), content, called)


def unpacked(content: bytes) -> Tests:
    """The tests in what was packed."""
    return tuple(Test(*test) for test in json.loads(content))


class Packer:
    """Reads and packs each row's tests once. Thread-safe."""

    def __init__(self, limit: int = PACKED_BYTES) -> None:
        self._lock = threading.Lock()
        self._recent: RecentlyUsed[tuple[int, str | None], tuple[object, PackedTests]] = (
            RecentlyUsed(limit)
        )

    def packed(self, tests: object, entry: str | None = None) -> PackedTests:
        """A row's tests, packed; the same list must not change between two calls.

        Raises BadTests.
        """
        # The list is kept with the answer: while it lives, no other object has its id.
        with self._lock:
            known = self._recent.get((id(tests), entry))
            if known is None:
                known = (tests, pack(read_tests(tests, entry)))
                self._recent.put((id(tests), entry), known, len(known[1].content))
            return known[1]


class RecentlyUsed(Generic[_K, _V]):
    """What was used last, up to a number of bytes; the newest is kept whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Bytes that are kept."""
        return self._bytes

    def get(self, key: _K) -> _V | None:
        """What is kept under the key."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: _K, value: _V, size: int) -> None:
        """Keep a value of so many bytes, under a key that is not there yet."""
        self._kept[key] = (value, size)
        self._bytes += size
        while self._bytes > self._limit and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
