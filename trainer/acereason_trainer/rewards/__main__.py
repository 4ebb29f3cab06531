"""Check answers from the shell: `python -m acereason_trainer.rewards [FILE...]`.

Reads JSON lines with `problem`, `answer` (math) or `tests` (code), and `response`; writes one
verdict for each, in the same order.
"""

import argparse
import json
import logging
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.config.curate import Columns
from acereason_trainer.config.rl import CustomReward
from acereason_trainer.dataset import Row, as_row, require_checkable
from acereason_trainer.rewards.protocol import Grade, Rewarder, Verdict
from acereason_trainer.rewards.rewarder import make_rewarder
from acereason_trainer.stage import StageFailure

_AHEAD = 256
"""Rows that are being checked at once; the file is never held whole."""

Domain = Literal["math", "code"]


class BadRow(Exception):
    """A line is not a row that can be graded; the text says which and why."""


def main(arguments: list[str] | None = None) -> int:
    """Grade every row; 0, or 2 where a row or an option is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        with _Rewarders(options) as rewarders:
            counts = _grade(_rows(options.files), rewarders)
    except (BadRow, StageFailure) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except ValidationError as e:
        for problem in e.errors():
            print(f"error: {problem['loc'][-1]}: {problem['msg']}", file=sys.stderr)
        return 2
    total = sum(counts.values())
    right = counts[Verdict.CORRECT]
    other = ", ".join(f"{n} {v}" for v, n in sorted(counts.items()) if v != Verdict.CORRECT)
    print(f"{right} of {total} correct" + (f" ({other})" if other else ""), file=sys.stderr)
    return 0


def _grade(rows: Iterator[tuple[Row, str]], rewarders: "_Rewarders") -> Counter[str]:
    counts: Counter[str] = Counter()
    waiting: deque[tuple[Mapping[str, Any], Future[Grade]]] = deque()

    def write_first() -> None:
        row, future = waiting.popleft()
        grade = future.result()
        counts[grade.verdict] += 1
        print(json.dumps(_line(row, grade), ensure_ascii=False), flush=True)

    for row, response in rows:
        waiting.append((row.data, rewarders.of(row.domain).submit(row.data, response)))
        if len(waiting) >= _AHEAD:
            write_first()
    while waiting:
        write_first()
    return counts


class _Rewarders:
    """One rewarder per domain, made when the first row of it comes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._made: dict[Domain, Rewarder] = {}

    def __enter__(self) -> "_Rewarders":
        return self

    def __exit__(self, *exc: object) -> None:
        for rewarder in self._made.values():
            rewarder.close()

    def of(self, domain: Domain) -> Rewarder:
        if domain not in self._made:
            o = self._options
            self._made[domain] = make_rewarder(
                domain,
                Verifier(workers=o.workers, code=CodeLimits(seconds_per_test=o.seconds_per_test)),
                custom=CustomReward(function=o.reward) if o.reward else None,
                all_tests=o.all_tests,
            )
        return self._made[domain]


def _rows(files: list[Path]) -> Iterator[tuple[Row, str]]:
    """Every row with its response."""
    for file in files or [Path("/dev/stdin")]:
        name = file.name if files else "stdin"
        try:
            lines = file.open("rb")
        except OSError as e:
            raise BadRow(f"{file} cannot be read: {e.strerror}") from e
        with lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(f"{name} line {number:,}", line)


def _row(origin: str, line: bytes) -> tuple[Row, str]:
    try:
        raw = json.loads(line)
    except ValueError as e:
        raise BadRow(f"{origin} is not JSON ({e}); each line must be one object") from e
    if not isinstance(raw, dict):
        raise BadRow(f"{origin} is a {type(raw).__name__}; each line must be one object")
    response = raw.get("response")
    if not isinstance(response, str):
        raise BadRow(f'{origin} has no "response"; it must be the text that is graded')
    row = as_row(raw, Columns(), origin)
    require_checkable(row)
    return row, response


def _line(row: Mapping[str, Any], grade: Grade) -> dict[str, Any]:
    line: dict[str, Any] = {"id": row["id"]} if "id" in row else {}
    line |= {
        "verdict": grade.verdict,
        "reward": grade.reward,
        "seconds": round(grade.seconds, 6),
        "detail": grade.detail,
    }
    return line if grade.passed is None else {**line, "passed": grade.passed}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acereason grade",
        description="Check responses to math and code problems as training does. Reads JSON lines "
        'with "problem", "answer" or "tests", and "response"; writes one JSON verdict per line '
        "and a summary on stderr. Only what follows the last </think> of a response counts.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  echo \'{"problem": "2/4?", "answer": "1/2", "response": '
        '"</think> \\\\boxed{0.5}"}\' | acereason grade\n'
        "  acereason grade responses.jsonl --workers 8 --all-tests > verdicts.jsonl\n\n"
        "exit codes: 0 all rows graded, 2 a row, file or option is wrong",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="JSON lines; none: standard input"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="processes that check at once (default: 2)",
    )
    parser.add_argument(
        "--seconds-per-test",
        type=float,
        default=6.0,
        metavar="S",
        help="CPU seconds of one test of a program (default: 6)",
    )
    parser.add_argument(
        "--all-tests",
        action="store_true",
        help="go on after a program's first failure and say which tests passed",
    )
    parser.add_argument(
        "--reward",
        metavar="PACKAGE.MODULE:FUNCTION",
        help="a reward of your own instead of the built-in two",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
