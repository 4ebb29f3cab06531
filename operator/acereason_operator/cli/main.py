"""`acereason`: runs, and everything about them, from a terminal."""

import argparse
import sys
from importlib.metadata import version

from acereason_operator.cli import artifacts, logs, plan, programs, run, status, validate


def main(arguments: list[str] | None = None) -> int:
    """Carry out one verb; returns the process's exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in programs.HANDED_ON:
        return programs.hand_on(words[0], words[1:])
    args = _parser().parse_args(words)
    try:
        return int(args.run(args))
    except BrokenPipeError:
        # The reader (head, less) has seen enough; what is left to write must not complain either.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acereason",
        description="Train a base model into a math and code reasoner, from one file.",
        epilog="example: acereason run examples/quickstart.yaml",
    )
    parser.add_argument("--version", action="version", version=f"acereason {version('acereason')}")
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run.add_parser(verbs)
    checked = verbs.add_parser(
        "validate",
        help="name every problem of run files; exit 2 where there is one",
        description="Name every problem of run files at once: file, line, path, what is wrong, "
        "what would be right.",
        epilog="example: acereason validate examples/*.yaml",
    )
    validate.add_arguments(checked)
    checked.set_defaults(run=validate.run)
    plan.add_parser(verbs)
    status.add_parser(verbs)
    logs.add_parser(verbs)
    artifacts.add_parsers(verbs)
    programs.add_parsers(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
