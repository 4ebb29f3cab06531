"""`python -m acereason_trainer.prepare STAGE_FILE`: `prepare.json` in the attempt's directory.

A pod's termination log gets the same record. The stage file may lie anywhere, read-only too; a copy
of it goes with the record, for people and for garbage collection. The exit code is the record's,
one of the contract (config/exit_codes.py). `prepare.lock` is held meanwhile, so that whoever was
restarted sees that this is still at work.
"""

import argparse
import json
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.locks import Held, holding
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.read_stage_file import BadStageFile, read_stage_file
from acereason_trainer.config.stage_file import PrepareRecord
from acereason_trainer.prepare.preparing import foretold, prepared
from acereason_trainer.termination_log import LARGEST_RECORD, write_termination_log

RECORD = "prepare.json"
LOCK = "prepare.lock"

TOLD = "stage.yaml"
LONGEST_MESSAGE = 1000
"""Characters of the record's sentence; stderr has all of it."""


def main(arguments: list[str] | None = None) -> int:
    """Prepare one attempt; returns the contract's exit code."""
    options = _parser().parse_args(arguments)
    path: Path = options.stage_file
    logging.basicConfig(format="warning: %(message)s", stream=sys.stderr)
    if options.dry_run:
        record = _dry_run(path)
        print(_text(record).decode())
        return record.exit_code
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record = _carried_out(path)
    except KeyboardInterrupt:
        record = PrepareRecord(exit_code=ExitCode.STOPPED, message="stopped on request")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is done and is only told
    with suppress(OSError):  # the log may be on a store that is full, which the record says
        print(record.message, file=sys.stderr)
    write_termination_log(_text(record))
    return record.exit_code


def _carried_out(path: Path) -> PrepareRecord:
    """Prepare the attempt that a file describes, and leave the record in its directory."""
    try:
        file = read_stage_file(path)
    except BadStageFile as error:
        return PrepareRecord(exit_code=ExitCode.BAD_CONFIGURATION, message=str(error))
    if "://" in file.store:
        return prepared(file)  # which says why not; there is no directory to leave it in
    directory = Path(file.store) / file.work_dir
    try:
        with holding(directory / LOCK):
            (directory / RECORD).unlink(missing_ok=True)
            if path.resolve() != (directory / TOLD).resolve():
                replace_file(directory / TOLD, path.read_bytes())
            record = _fitting(prepared(file))
            replace_file(directory / RECORD, _text(record))
            return record
    except Held as held:
        why = f"this attempt is being prepared already: {held}"
    except StoreFull as full:
        why = str(full)
    except OSError as error:
        why = f"{directory} cannot be used: {error}"
    return PrepareRecord(exit_code=ExitCode.TEMPORARY, message=why)


def _dry_run(path: Path) -> PrepareRecord:
    try:
        return _fitting(foretold(read_stage_file(path)))
    except BadStageFile as error:
        return PrepareRecord(exit_code=ExitCode.BAD_CONFIGURATION, message=str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acereason_trainer.prepare",
        description="Import and verify the inputs of a stage attempt, compute its key, look for "
        "finished work and for the state to go on from. Needs no GPU.",
        epilog=f"Writes {RECORD} into the attempt's directory of the store. Exit codes: 0 "
        "prepared, 65 a corrupt input, 75 try again later, 78 a source or the file is wrong, 143 "
        "stopped. Environment: ACEREASON_TERMINATION_LOG names a file for a second copy of the "
        "record. Example: python -m acereason_trainer.prepare 1/stage.yaml",
    )
    parser.add_argument("stage_file", type=Path, metavar="STAGE_FILE", help="the attempt's file")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: hash sources where they are and print the record",
    )
    return parser


def _fitting(record: PrepareRecord) -> PrepareRecord:
    """The record, or one that says why it can't be left."""
    size = len(_text(record))
    if size <= LARGEST_RECORD:
        return record
    return PrepareRecord(
        exit_code=ExitCode.BAD_CONFIGURATION,
        message=f"the names of all inputs take {size:,} bytes, and the record of a stage holds "
        f"{LARGEST_RECORD:,}; name artifacts below the store, as artifacts/KEY",
    )


def _text(record: PrepareRecord) -> bytes:
    short = record.model_copy(update={"message": record.message[:LONGEST_MESSAGE]})
    return json.dumps(short.dump(), separators=(",", ":"), ensure_ascii=False).encode()


if __name__ == "__main__":
    sys.exit(main())
