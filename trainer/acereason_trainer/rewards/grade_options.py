"""Options of `acereason grade`, and what its exit codes mean."""

import argparse
import re
import signal
from pathlib import Path

from acereason_trainer.config.forms import VERIFIER_SERVICE

OUTPUT_GONE = 128 + signal.SIGPIPE
"""Exit code where nobody reads the verdicts any more, as of a program that the signal ends."""
INTERRUPTED = 128 + signal.SIGINT


def parser() -> argparse.ArgumentParser:
    """Reads the words after `acereason grade`."""
    made = argparse.ArgumentParser(
        prog="acereason grade",
        description="Check responses to math and code problems as training does. Reads JSON lines "
        '{"id", "kind": "math", "response", "answer"} or {"id", "kind": "code", "response", '
        '"tests", "time_limit"?, "memory_limit"?} (seconds of CPU time, MiB), with tests as '
        '{"stdin", "stdout"} or {"call", "args", "expected"}; writes a line {"id", "verdict", '
        '"reward": 1, 0 or null, "seconds", "detail"} for each, in the same order, and a summary '
        "on stderr. A line that cannot be graded gets infra_error and a sentence.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  echo \'{"id": 1, "kind": "math", "answer": "1/2", '
        '"response": "So it is \\\\boxed{0.5}."}\' | acereason grade\n'
        "  acereason grade --in cases.jsonl --out verdicts.jsonl --workers 8 --all-tests\n\n"
        "exit codes: 0 every line has a verdict, 1 the checker does not work, 2 a file or option "
        f"is wrong, {INTERRUPTED} interrupted, {OUTPUT_GONE} nobody reads the output any more",
    )
    made.add_argument(
        "--in",
        dest="cases",
        type=Path,
        metavar="FILE",
        help="cases, one JSON object per line (default: standard input)",
    )
    made.add_argument(
        "--out",
        dest="verdicts",
        type=Path,
        metavar="FILE",
        help="verdicts, one JSON object per line (default: standard output)",
    )
    made.add_argument(
        "--require-think",
        action="store_true",
        help="a response without </think> has no answer, as in the training of models that think; "
        "without this option all of it is graded",
    )
    made.add_argument(
        "--workers",
        type=_workers,
        default=2,
        metavar="N",
        help="processes that check at once (default: 2)",
    )
    made.add_argument(
        "--remote",
        type=_address,
        metavar="URL",
        help="have a verifier service check instead, as in http://verifier:8321",
    )
    made.add_argument(
        "--seconds-per-test",
        type=_seconds,
        default=6.0,
        metavar="S",
        help="CPU seconds of one test of a program that has no time_limit (default: 6)",
    )
    made.add_argument(
        "--all-tests",
        action="store_true",
        help='go on after a program\'s first failure and say which tests "passed"',
    )
    made.add_argument(
        "--reward",
        metavar="PACKAGE.MODULE:FUNCTION",
        help="a reward of your own instead of the built-in two; it gets the whole line",
    )
    return made


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes; give 1 to 4096")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError(f"{text} is no time limit; give seconds, up to 600")
    return value


def _address(text: str) -> str:
    if re.fullmatch(VERIFIER_SERVICE, text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address of a verifier; write one as in http://verifier:8321"
        )
    return text
