"""`runs/<run>/` of a store: the run as last applied, its status, the lock of its one runner."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.locks import Held, holding, is_held
from pydantic import ValidationError

from acereason_operator.api.load import read_documents, read_run
from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus


class AlreadyRunning(Exception):
    """Another process carries out this run."""


class UnreadableStatus(Exception):
    """A status file is damaged, or of another version."""


class RunDirectory:
    """What a store keeps of one run."""

    def __init__(self, store: Path, run: str) -> None:
        self.store = store
        self.name = run
        self.path = store / "runs" / run

    @property
    def is_carried_out(self) -> bool:
        """Whether a process carries it out now."""
        return is_held(self.path / "lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one process that carries out the run. Raises AlreadyRunning, StoreFull."""
        try:
            with holding(self.path / "lock"):
                yield
        except Held as held:
            raise AlreadyRunning(
                f"run {self.name} is carried out by process {held.holder or 'unknown'} already; "
                f"watch it with `acereason status {self.name}`, or stop it with "
                f"`kill {held.holder or 'PID'}` first"
            ) from held

    def applied(self) -> AceReasonRun | None:
        """The run as last applied; None where there is none that can be read."""
        documents = read_documents(self.path / "run.yaml")
        return read_run(documents[0]).run if len(documents) == 1 else None

    def apply(self, run: AceReasonRun) -> AceReasonRun:
        """The run with its generation, which an API server would raise with each change of the
        spec; kept for the next start. Raises UnreadableStatus."""
        before = self.applied()
        generation = before.metadata.generation if before else 0
        if before is None or before.spec != run.spec:
            # A number that the status has seen would hide the change from the planner.
            generation = max(generation, self.status().observed_generation) + 1
        run = _with_metadata(run, generation=generation)
        # As it was written: some rules look at what is written and not at what is meant. JSON is
        # YAML in which no text is mistaken for something else.
        written = run.model_dump(mode="json", by_alias=True, exclude_unset=True)
        text = json.dumps(written, indent=2, ensure_ascii=False)
        replace_file(self.path / "run.yaml", text.encode())
        return run

    def status(self) -> RunStatus:
        """The status; an empty one where there is none. Raises UnreadableStatus."""
        path = self.path / "status.json"
        try:
            return RunStatus.parse_json(path.read_bytes())
        except FileNotFoundError:
            return RunStatus()
        except ValidationError as error:
            raise UnreadableStatus(
                f"{path} cannot be read ({error.errors()[0]['msg']}); remove it and start the run "
                "again: finished stages are found by their keys"
            ) from error

    def write_status(self, status: RunStatus) -> None:
        """Replace the status in one step."""
        text = json.dumps(status.dump(), indent=1, ensure_ascii=False)
        replace_file(self.path / "status.json", text.encode())


def _with_metadata(run: AceReasonRun, *, generation: int) -> AceReasonRun:
    """What a laptop does not know (namespaces, uids) is dropped: it would only change names."""
    update = {"generation": generation, "namespace": None, "uid": ""}
    return run.model_copy(update={"metadata": run.metadata.model_copy(update=update)})
