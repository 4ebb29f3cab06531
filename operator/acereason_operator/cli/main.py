"""`acereason`: runs, and everything about them, from a terminal."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from acereason_operator.cli import artifacts, logs, plan, programs, run, status, validate
from acereason_operator.cli.output_gone import silence_what_is_gone
from acereason_operator.cli.store import NoStore
from acereason_operator.cli.which_run import NotThere
from acereason_operator.local.run_directory import UnreadableStatus

FAILED = 1
MISUSED = 2
INTERRUPTED = 130
OUTPUT_GONE = 128 + signal.SIGPIPE

ONLY_READ = ("plan", "status", "logs", "list", "lineage")
"""Verbs that are done when their reader (head, less) has seen enough: they neither change anything
nor judge anything."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one verb; returns the process's exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in programs.HANDED_ON:
        programs.hand_on(words[0], words[1:])
    args = _parser().parse_args(words)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except (NoStore, NotThere) as error:
        print(error, file=sys.stderr)
        return MISUSED
    except UnreadableStatus as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        silence_what_is_gone()
        return 0 if getattr(args, "verb", args.command) in ONLY_READ else OUTPUT_GONE
    return code


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
        epilog="example: acereason validate examples/quickstart.yaml my-run.yaml",
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
