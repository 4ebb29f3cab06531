"""Rows of a dataset: problems with an answer, tests or a worked response.

A data artifact is a directory of JSONL and parquet files. Whatever the source calls its columns,
a row has ours: `problem` always; `answer` for math; `tests` for code (with `starter`, where the
program is called, and the problem's own `time_limit`, `memory_limit` and `tolerance`); `response`
for SFT; `id`; `domain`, where there are no tests to tell code from math. All further columns stay,
for `where` and `mix`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from acereason_trainer.config.curate import Columns
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.rewards.problem_limits import BadLimits, read_limits
from acereason_trainer.rewards.problem_tests import BadTests, require_form
from acereason_trainer.stage import StageFailure

Domain = Literal["math", "code"]

SUFFIXES = (".jsonl", ".parquet")
_OURS = (
    "problem",
    "answer",
    "tests",
    "response",
    "starter",
    "time_limit",
    "memory_limit",
    "tolerance",
    "id",
    "domain",
)
_ROWS_PER_READ = 1024


@dataclass(frozen=True)
class Row:
    """One problem under our column names. A column that is empty in the source is not there."""

    id: str
    """Stable name; 16 hex digits of the problem's sha256 where the source gives none."""
    data: Mapping[str, Any]
    """All columns, `id` and `problem` among them; `tests` is a list (rewards/problem_tests.py)."""
    origin: str = ""
    """File and line (or row) it came from, for messages."""

    @property
    def domain(self) -> Domain:
        """What the row says; where it says nothing, a row with tests is code, else math."""
        given = self.data.get("domain")
        if given is not None:
            return "code" if given == "code" else "math"
        return "code" if "tests" in self.data else "math"

    @property
    def problem(self) -> str:
        """Statement of the problem."""
        return str(self.data["problem"])

    @property
    def expected_tokens(self) -> float:
        """How long responses to it are expected to be: as long as a pass rate's attempts at it
        were, else as a teacher's answers; infinite where the row does not say."""
        given = (self.data.get(column) for column in ("response_tokens", "teacher_tokens"))
        return next((float(g) for g in given if isinstance(g, int | float)), math.inf)


def problem_id(problem: str) -> str:
    """Name of a problem made from its text."""
    return hashlib.sha256(problem.encode()).hexdigest()[:16]


def read_rows(path: Path, columns: Columns | None = None) -> Iterator[Row]:
    """Every row of a file, or of all .jsonl and .parquet files below a directory, sorted by name.

    Streams: memory holds about a thousand rows. Raises StageFailure with the file, the line and
    what would be right, for a row that is no problem.
    """
    names = columns or Columns()
    for file in data_files(path):
        name = file.name if file == path else str(file.relative_to(path))
        for origin, raw in _read_file(file, name):
            yield as_row(raw, names, origin)


def data_files(path: Path) -> list[Path]:
    """The data files of a file or directory, sorted by path."""
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise _bad(f"{path.name} is neither .jsonl nor .parquet; convert it to one of them")
        return [path]
    if not path.is_dir():
        raise _bad(f"{path} does not exist; give a .jsonl or .parquet file or a directory of them")
    files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
    if not files:
        raise _bad(f"{path} holds no .jsonl or .parquet file; point the data input at one")
    return files


def as_row(raw: Mapping[str, Any], columns: Columns, origin: str) -> Row:
    """One source row under our column names, checked."""
    source_names = {ours: getattr(columns, ours) for ours in _OURS}
    renamed = set(source_names.values()) | set(_OURS)
    data = {k: v for k, v in raw.items() if k not in renamed}
    for ours, theirs in source_names.items():
        value = raw.get(theirs)
        if value is None or value == "":
            continue
        data[ours] = _CHECKS[ours](value, f'{origin}: "{theirs}"')
    if "problem" not in data:
        raise _bad(
            f'{origin} has no "{columns.problem}"; rows need "problem" and "answer", '
            '"tests" or "response" (map others with columns:)'
        )
    try:
        read_limits(data)
    except BadLimits as e:
        raise _bad(f"{origin}: {e}; columns: can name other columns") from e
    data.setdefault("id", problem_id(data["problem"]))
    return Row(id=data["id"], data=data, origin=origin)


def require_checkable(row: Row) -> None:
    """Raise StageFailure unless an answer to the row can be checked."""
    if "answer" not in row.data and "tests" not in row.data:
        raise _bad(
            f'{row.origin} has no "answer" and no "tests"; a math row needs "answer", a '
            'code row "tests" (a curate stage can map columns and drop such rows)'
        )


def require_response(row: Row) -> None:
    """Raise StageFailure unless the row has a worked answer to learn from."""
    if "response" not in row.data:
        raise _bad(
            f'{row.origin} has no "response"; SFT rows need one (a curate stage with '
            "requireResponse drops such rows)"
        )


def require_distinct_ids(rows: Iterable[Row], *, copies: bool = True) -> None:
    """Raise StageFailure where an id comes again with other data: what is drawn and checked is kept
    by id, so one row would get the other's prompt or answer.

    copies: whether equal rows (`mix` makes such) may share an id.
    """
    first: dict[str, Row] = {}
    for row in rows:
        if row.id not in first:
            first[row.id] = row
        elif not copies or _as_text(row) != _as_text(first[row.id]):
            raise _bad(
                f"{row.origin} has the id {row.id} of {first[row.id].origin}; rows need different "
                "ids (one that has none gets the same as its problem has elsewhere; a curate stage "
                "drops duplicates)"
            )


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows as JSONL under our column names, keys sorted; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(_as_text(row) + "\n")
            count += 1
    return count


def _as_text(row: Row) -> str:
    """The row as it is written. Compares equal with itself, unlike a NaN among its columns."""
    return json.dumps(row.data, ensure_ascii=False, sort_keys=True, default=str)


def _read_file(file: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return _read_jsonl(file, name) if file.suffix == ".jsonl" else _read_parquet(file, name)


def _read_jsonl(file: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            origin = f"{name} line {number:,}"
            try:
                raw = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as e:
                raise _bad(f"{origin} is not JSON ({e}); each line must be one object") from e
            if not isinstance(raw, dict):
                raise _bad(f"{origin} is a {type(raw).__name__}; each line must be one object")
            yield origin, raw


def _read_parquet(file: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS_PER_READ):
            for raw in batch.to_pylist():
                number += 1
                yield f"{name} row {number:,}", raw
    except pa.ArrowInvalid as e:
        raise _bad(f"{name} is not a readable parquet file ({e}); write it again") from e


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _bad(f"{what} is {_kind(value)}; it must be text")
    return value


def _text_or_number(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise _bad(f"{what} is {_kind(value)}; it must be text or a number")


def _domain(value: Any, what: str) -> str:
    if value not in ("math", "code"):
        raise _bad(
            f'{what} is {value!r}; it must be "math" or "code" (columns.domain names the '
            "column that says which)"
        )
    return str(value)


def _tests(value: Any, what: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as e:
            raise _bad(f"{what} is text but not JSON ({e}); it must be a list of tests") from e
    try:
        return [dict(test) for test in require_form(value)]
    except BadTests as e:
        raise _bad(f"{what}: {e}") from e


def _as_is(value: Any, what: str) -> Any:
    """Checked with its neighbours, once all columns are there."""
    return value


_CHECKS = {
    "problem": _text,
    "answer": _text_or_number,
    "tests": _tests,
    "response": _text,
    "starter": _text,
    "time_limit": _as_is,
    "memory_limit": _as_is,
    "tolerance": _as_is,
    "id": _text_or_number,
    "domain": _domain,
}


def _kind(value: Any) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), type(value).__name__)


def _bad(sentence: str) -> StageFailure:
    return StageFailure(ExitCode.BAD_CONFIGURATION, "BadData", sentence)
