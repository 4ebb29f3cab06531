"""What every stage of the trainer is given, and the ways in which it may end."""

import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import Prepared, StageFile

if TYPE_CHECKING:
    from acereason_trainer.peers import Peers


class StageFailure(Exception):
    """A stage ends with a code of the contract and one sentence for a person."""

    def __init__(self, code: ExitCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


class Stopped(Exception):
    """A stop was asked for (SIGTERM); the last completed step stands."""


class StopFlag:
    """Set by SIGTERM, looked at between batches and steps."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._asked_at: float | None = None

    def listen(self) -> None:
        """Take SIGTERM and SIGINT for this process (main thread only)."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked_at = self._asked_at or time.monotonic()
        self._event.set()

    @property
    def seconds_since(self) -> float:
        """Since a stop was asked for; 0 where none was."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    @property
    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Stopped if a stop was asked for."""
        if self._event.is_set():
            raise Stopped


def _alone() -> "Peers":
    from acereason_trainer.peers import ALONE  # it knows the exceptions of this file

    return ALONE


@dataclass(frozen=True)
class StageContext:
    """One attempt of one stage, ready to work."""

    file: StageFile
    prepared: Prepared
    store: Path
    """Root of the store."""
    work_dir: Path
    """This attempt's own directory."""
    stop: StopFlag = field(default_factory=StopFlag)
    peers: "Peers" = field(default_factory=_alone)
    """The ranks of this attempt."""

    def check_stop(self) -> None:
        """Raise Stopped on every rank if one of them was asked to stop. All ranks must call."""
        self.peers.together(self.stop.check)

    def check_alone(self) -> None:
        """Raise Stopped if this rank was asked to stop, or if another one has ended or was. For
        long work within `peers.together` or `peers.led`; needs no other rank to call."""
        self.stop.check()
        self.peers.check()

    def input_dir(self, ref: ArtifactRef) -> Path:
        """Directory of an input artifact."""
        return self.store / ref.uri

    @property
    def model_dir(self) -> Path:
        """Directory of the start checkpoint."""
        if self.prepared.inputs.model is None:
            raise StageFailure(
                ExitCode.BAD_CONFIGURATION,
                "NoModel",
                f"stage {self.file.stage} needs a model; set inputs.model",
            )
        return self.input_dir(self.prepared.inputs.model)

    @property
    def data_dir(self) -> Path:
        """Directory of the dataset."""
        if self.prepared.inputs.data is None:
            raise StageFailure(
                ExitCode.BAD_CONFIGURATION,
                "NoData",
                f"stage {self.file.stage} needs data; set inputs.data",
            )
        return self.input_dir(self.prepared.inputs.data)
