"""`python -m acereason_trainer.prepare STAGE_FILE`: writes `prepare.json` beside the stage file.

Its exit code is the record's, one of the contract (config/exit_codes.py). `prepare.lock` is held
meanwhile, so that whoever was restarted sees that this is still at work.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.locks import Held, holding
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.read_stage_file import BadStageFile, read_stage_file
from acereason_trainer.config.stage_file import PrepareRecord, StageFile
from acereason_trainer.prepare.answer import answer, foretold

RECORD = "prepare.json"
LOCK = "prepare.lock"

LARGEST_RECORD = 4096
"""Bytes: it is a pod's termination message too."""
LONGEST_MESSAGE = 1000
"""Characters of the record's sentence; stderr has all of it."""


def main(arguments: list[str] | None = None) -> int:
    """Prepare one attempt; returns the contract's exit code."""
    options = _parser().parse_args(arguments)
    path: Path = options.stage_file
    logging.basicConfig(format="warning: %(message)s", stream=sys.stderr)
    if options.dry_run:
        record = _record(path, foretold)
        print(_text(record).decode())
        return record.exit_code
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with holding(path.parent / LOCK):
            (path.parent / RECORD).unlink(missing_ok=True)
            record = _record(path, answer)
            print(record.message, file=sys.stderr)
            replace_file(path.parent / RECORD, _text(record))
            return record.exit_code
    except Held as held:
        print(f"this attempt is being prepared already: {held}", file=sys.stderr)
    except StoreFull as full:
        print(full, file=sys.stderr)
    except OSError as error:
        print(f"{path.parent} cannot be used: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped on request", file=sys.stderr)
        return ExitCode.STOPPED
    return ExitCode.TEMPORARY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acereason_trainer.prepare",
        description="Import and verify the inputs of a stage attempt, compute its key, look for "
        "finished work and for the state to go on from. Needs no GPU.",
        epilog=f"Writes {RECORD} beside STAGE_FILE. Exit codes: 0 prepared, 65 a corrupt input, "
        "75 try again later, 78 a source or the file is wrong, 143 stopped. "
        "Example: python -m acereason_trainer.prepare 1/stage.yaml",
    )
    parser.add_argument("stage_file", type=Path, metavar="STAGE_FILE", help="the attempt's file")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: hash sources where they are and print the record",
    )
    return parser


def _record(path: Path, prepare: Callable[[StageFile], PrepareRecord]) -> PrepareRecord:
    try:
        record = prepare(read_stage_file(path))
    except BadStageFile as error:
        return PrepareRecord(exit_code=ExitCode.BAD_CONFIGURATION, message=str(error))
    size = len(_text(record))
    if size > LARGEST_RECORD:
        return PrepareRecord(
            exit_code=ExitCode.BAD_CONFIGURATION,
            message=f"the names of all inputs take {size:,} bytes, and the record of a stage holds "
            f"{LARGEST_RECORD:,}; name artifacts below the store, as artifacts/KEY",
        )
    return record


def _text(record: PrepareRecord) -> bytes:
    short = record.model_copy(update={"message": record.message[:LONGEST_MESSAGE]})
    return json.dumps(short.dump(), separators=(",", ":"), ensure_ascii=False).encode()


if __name__ == "__main__":
    sys.exit(main())
