"""Grade responses from the shell: `acereason grade`, `python -m acereason_trainer.rewards`.

One JSON line in (cases.py), one JSON line out, in the same order. A line that cannot be graded gets
an infrastructure error with a sentence, and the rest goes on.
"""

import argparse
import json
import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import IO, Any

from pydantic import ValidationError

from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import CustomReward
from acereason_trainer.output_file import OutputRefused, output_file
from acereason_trainer.rewards.cases import BadCase, Case, Kind, read_case
from acereason_trainer.rewards.grade_options import INTERRUPTED, OUTPUT_GONE, parser
from acereason_trainer.rewards.protocol import Grade, Rewarder, Verdict
from acereason_trainer.rewards.rewarder import make_rewarder
from acereason_trainer.stage import StageFailure

_AHEAD = 256
"""Cases that are being checked at once; the file is never held whole."""

BAD_DATA = "BadData"
"""Reason of a StageFailure that is about one row."""


def main(arguments: list[str] | None = None) -> int:  # noqa: PLR0911 - one for each end
    """Grade every line; 0 when each has its verdict, 1 where the checker does not work, 2 for a
    wrong option or file, OUTPUT_GONE for a closed pipe, INTERRUPTED after a Ctrl-C."""
    command = parser()
    options = command.parse_args(arguments)
    if options.reward and options.remote:
        command.error("--reward runs code of this machine; it cannot be used with --remote")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        with ExitStack() as stack:
            lines, out = _opened(options, stack)
            counts = _grade(lines, out, stack.enter_context(_Rewarders(options)))
    except BrokenPipeError:
        _lose_what_is_not_written()
        return OUTPUT_GONE
    except KeyboardInterrupt:
        print("interrupted: not every line was graded", file=sys.stderr)
        return INTERRUPTED
    except OSError as e:
        trouble = f"{e.filename} cannot be opened"
        if e.filename is None:
            trouble = f"{options.verdicts or 'standard output'} cannot be written"
            _lose_what_is_not_written()
        print(f"error: {trouble}: {e.strerror}", file=sys.stderr)
        return 2
    except OutputRefused as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except StageFailure as e:
        print(f"error: {e}", file=sys.stderr)
        return 2 if e.code is ExitCode.BAD_CONFIGURATION else 1
    except ValidationError as e:
        for problem in e.errors():
            print(f"error: {problem['loc'][-1]}: {problem['msg']}", file=sys.stderr)
        return 2
    total, right = sum(counts.values()), counts[Verdict.CORRECT]
    other = ", ".join(f"{n} {v}" for v, n in sorted(counts.items()) if v != Verdict.CORRECT)
    print(f"{right} of {total} correct" + (f" ({other})" if other else ""), file=sys.stderr)
    return 0


def _lose_what_is_not_written() -> None:
    """Else the interpreter's last flush fails once more, with words and a code of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _grade(lines: Iterator[bytes], out: IO[str], rewarders: "_Rewarders") -> Counter[str]:
    counts: Counter[str] = Counter()
    waiting: deque[tuple[str | int | float | None, Future[Grade]]] = deque()

    def write_first() -> None:
        name, future = waiting.popleft()
        grade = future.result()
        counts[grade.verdict] += 1
        print(json.dumps(_line(name, grade)), file=out, flush=True)

    for line in lines:
        waiting.append(_submitted(line, rewarders))
        while waiting and (len(waiting) >= _AHEAD or waiting[0][1].done()):
            write_first()
    while waiting:
        write_first()
    return counts


def _submitted(
    line: bytes, rewarders: "_Rewarders"
) -> tuple[str | int | float | None, "Future[Grade]"]:
    name = None
    try:
        case = read_case(line)
        name = case.id
        return name, rewarders.submit(case)
    except BadCase as e:
        return e.id, _refused(str(e))
    except StageFailure as e:
        if e.reason != BAD_DATA:
            raise
        return name, _refused(str(e))


def _refused(sentence: str) -> "Future[Grade]":
    future: Future[Grade] = Future()
    future.set_result(Grade(Verdict.INFRA_ERROR, None, 0.0, sentence))
    return future


class _Rewarders:
    """One rewarder per kind, made when the first case of it comes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._verifier = Verifier(
            service=options.remote or "local",
            workers=options.workers,
            code=CodeLimits(seconds_per_test=options.seconds_per_test),
        )
        self._made: dict[Kind, Rewarder] = {}

    def __enter__(self) -> "_Rewarders":
        return self

    def __exit__(self, *exc: object) -> None:
        for rewarder in self._made.values():
            rewarder.close()

    def submit(self, case: Case) -> "Future[Grade]":
        """Have a case checked. Raises StageFailure."""
        if case.kind not in self._made:
            o = self._options
            self._made[case.kind] = make_rewarder(
                case.kind,
                self._verifier,
                custom=CustomReward(function=o.reward) if o.reward else None,
                all_tests=o.all_tests,
                require_think=o.require_think,
            )
        return self._made[case.kind].submit(case.row, case.response)


def _opened(options: argparse.Namespace, stack: ExitStack) -> tuple[IO[bytes], IO[str]]:
    lines: IO[bytes] = sys.stdin.buffer
    out: IO[str] = sys.stdout
    if options.cases is not None:
        lines = stack.enter_context(options.cases.open("rb"))
    if options.verdicts is not None:
        inputs = [options.cases] if options.cases else []
        path = stack.enter_context(output_file(options.verdicts, inputs))
        out = stack.enter_context(path.open("w"))
    return lines, out


def _line(name: str | int | float | None, grade: Grade) -> dict[str, Any]:
    line = {
        "id": name,
        "verdict": grade.verdict,
        # 1 and 0 are whole; only a reward of the user's own is between them.
        "reward": int(grade.reward) if grade.reward in (0, 1) else grade.reward,
        "seconds": round(grade.seconds, 6),
        "detail": grade.detail,
    }
    return line if grade.passed is None else {**line, "passed": grade.passed}


if __name__ == "__main__":
    sys.exit(main())
