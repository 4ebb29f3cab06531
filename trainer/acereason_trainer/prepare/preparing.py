"""What a stage attempt begins with: inputs, key, finished work, the state to go on from."""

from collections.abc import Callable
from pathlib import Path

from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.locks import sharing
from acereason_trainer.artifacts.retention import COLLECTING
from acereason_trainer.artifacts.states import newest_state
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import (
    PrepareRecord,
    ResumeState,
    StageFile,
)
from acereason_trainer.prepare.checks import BadSource
from acereason_trainer.prepare.hashed_in_place import HashedInPlace
from acereason_trainer.prepare.inputs import CorruptInput, as_artifacts, verify
from acereason_trainer.prepare.key import stage_key
from acereason_trainer.prepare.sources import NotDownloaded


def prepared(file: StageFile) -> PrepareRecord:
    """Prepare a stage attempt; whatever stops it is in the record, with the contract's code."""
    return _told(file, _in_store)


def foretold(file: StageFile) -> PrepareRecord:
    """The same record without importing, downloading or locking anything: sources are hashed where
    they are. Without a key where that needs a download."""
    return _told(file, _in_place)


def _told(file: StageFile, prepare: Callable[[StageFile, Path], PrepareRecord]) -> PrepareRecord:
    try:
        if "://" in file.store:
            raise BadSource(f"store {file.store}: only directories can be used as a store")
        return prepare(file, Path(file.store))
    except BadSource as error:
        return PrepareRecord(exit_code=ExitCode.BAD_CONFIGURATION, message=str(error))
    except CorruptInput as error:
        return PrepareRecord(
            exit_code=ExitCode.CORRUPT_INPUT, message=str(error), corrupt_input=error.name
        )
    except StoreFull as error:
        return PrepareRecord(exit_code=ExitCode.TEMPORARY, message=str(error))
    except OSError as error:
        why = f"inputs or store cannot be read or written now: {error}"
        return PrepareRecord(exit_code=ExitCode.TEMPORARY, message=why)


def _in_store(file: StageFile, root: Path) -> PrepareRecord:
    with sharing(root / COLLECTING):  # what is found here must not be collected meanwhile
        return _record(file, DirectoryStore(root), download=True)


def _in_place(file: StageFile, root: Path) -> PrepareRecord:
    try:
        return _record(file, HashedInPlace(root), download=False)
    except NotDownloaded as why:
        return PrepareRecord(exit_code=ExitCode.DONE, message=str(why))


def _record(file: StageFile, store: DirectoryStore, *, download: bool) -> PrepareRecord:
    inputs = as_artifacts(store, file.inputs, download=download)
    key = stage_key(file, inputs)
    reused = store.finished(key)
    if reused is not None:
        return PrepareRecord(
            exit_code=ExitCode.DONE,
            message=f"{reused.uri} holds this work already",
            key=key,
            inputs=inputs,
            reused=reused,
        )
    verify(store, file.inputs)
    resume = newest_state(
        store.root, file.run, file.stage, key, file.salt, before_step=file.before_step
    )
    return PrepareRecord(
        exit_code=ExitCode.DONE,
        message=_where_it_starts(resume),
        key=key,
        inputs=inputs,
        resume=resume,
    )


def _where_it_starts(resume: ResumeState | None) -> str:
    return "starts from the beginning" if resume is None else f"goes on from {resume.path}"
