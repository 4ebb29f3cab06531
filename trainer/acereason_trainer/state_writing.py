"""A trainer state is written beside training: one at a time, in a thread of each rank.

Every rank writes, flushes and hashes its own files in the directory that the leader made, and
leaves a note of them there. When all notes are there, the leader's thread commits the state. The
threads meet by these files alone: the collectives are training's.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.artifacts.flushing import flush
from acereason_trainer.artifacts.hashing import hash_files
from acereason_trainer.artifacts.manifest import FileEntry
from acereason_trainer.artifacts.needless_states import remove
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.model import Model
from acereason_trainer.stage import StageFailure

SECONDS_BETWEEN_LOOKS = 0.1
"""At the other ranks' notes."""


class Note(Model):
    """What one rank has written."""

    files: list[FileEntry]
    """With sizes and hashes."""


class GivenUp(Exception):
    """The other ranks' notes are waited for no longer."""


class StateWriting:
    """One state on its way to the disk."""

    def __init__(
        self,
        directory: Path,
        write: Callable[[Path], Sequence[Path]],
        commit: Callable[[Sequence[FileEntry]], None],
        *,
        rank: int,
        world: int,
        began: float | None = None,
    ) -> None:
        """Begins at once. `write` fills the directory with this rank's files and names them; what
        it holds is let go when it has. `commit` is called by the leader, with the files of all.
        began: on the monotonic clock, where saving began before now: with copying."""
        self._directory, self._commit = directory, commit
        self._to_write = [write]
        self._rank, self._world = rank, world
        self._began = time.monotonic() if began is None else began
        self.seconds: float | None = None
        """How long it took from the beginning; None while it goes on."""
        self._own_part_is_done = Event()
        self._given_up = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="state", daemon=True)
        self._thread.start()

    @property
    def seconds_so_far(self) -> float:
        """How long it took, or has taken until now."""
        return time.monotonic() - self._began if self.seconds is None else self.seconds

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._error is not None:
            raise self._error

    def wait_for_own_part(self) -> None:
        """Return when this rank has written; raise what went wrong."""
        self._own_part_is_done.wait()
        self.check()

    def wait(self) -> None:
        """Return when the state is there; raise what went wrong. The other ranks must have written
        their parts."""
        self._thread.join()
        self.check()

    def give_up(self) -> None:
        """The attempt ends otherwise: end without ranks that may be gone."""
        self._given_up.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            files = self._own_files()
            if self._rank == 0:
                self._own_part_is_done.set()
                self._commit([*files, *self._files_of_others()])
            else:
                self._leave_note(Note(files=files))
        except Exception as e:  # noqa: BLE001 (raised where training asks)
            self._error = self._explained(e)
        finally:
            if self._rank == 0:  # it is somewhere else by now, or useless; others may still write
                remove(self._directory)
            self.seconds = time.monotonic() - self._began
            self._own_part_is_done.set()

    def _explained(self, error: Exception) -> Exception:
        """A rank whose directory the leader has taken away has done nothing wrong."""
        if self._rank == 0 or not _is_gone(self._directory):
            return error
        return StageFailure(
            ExitCode.TEMPORARY,
            "StateGivenUp",
            f"{self._directory} is not there any more: the first rank has given this state up",
        )

    def _own_files(self) -> list[FileEntry]:
        with told_when_full(self._directory):
            paths = self._to_write.pop()(self._directory)
        for path in paths:
            flush(path)
        return hash_files({path.name: path for path in paths})

    def _leave_note(self, note: Note) -> None:
        """Whole or not at all. From then on the directory is the leader's, who may have put it
        somewhere else already: nothing more can be done in it."""
        path = self._note_of(self._rank)
        half = path.with_suffix(".half")
        with told_when_full(path):
            half.write_bytes(note.model_dump_json().encode())
        half.rename(path)

    def _files_of_others(self) -> list[FileEntry]:
        files: list[FileEntry] = []
        for rank in range(1, self._world):
            note = self._note_of(rank)
            while not note.exists():
                if self._given_up.wait(SECONDS_BETWEEN_LOOKS):
                    raise GivenUp
            files += Note.model_validate_json(note.read_bytes()).files
            note.unlink()
        return files

    def _note_of(self, rank: int) -> Path:
        return self._directory / f".rank-{rank}.json"


def _is_gone(directory: Path) -> bool:
    """Surely: of what a volume that fails holds, nothing is known."""
    try:
        directory.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False
