"""`manifest.json`: what an artifact or a trainer state is made of, and where it came from.

It is written last, so a directory without one is garbage. Its own checksum shows a cut or edited
manifest; the sha256 of each file shows everything else.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.config.model import Model
from acereason_trainer.config.sources import Digest
from acereason_trainer.config.stage_file import ArtifactKind, StageKind

MANIFEST = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Model):
    """One file."""

    path: str
    """Below the directory, with `/` between parts."""
    bytes: int = Field(ge=0)
    """Size."""
    sha256: Sha256
    """Of its content, as 64 hex digits."""
    record: bool = False
    """Holds wall-clock times or samples for people: verified, but not part of the tree digest."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise ValueError(f"{path!r} does not name a file below the artifact")
        return path


class Producer(Model):
    """The stage attempt that made an artifact."""

    run: str
    """Name of the run."""
    stage: str
    """Name of the stage."""
    attempt: int = Field(ge=1)
    """Number of the attempt."""
    stage_kind: StageKind
    """What the stage does."""


class Sealed(Model):
    """What manifests of artifacts and of trainer states share."""

    api_version: Literal["acereason.dev/v1alpha1"] = "acereason.dev/v1alpha1"
    """Version of this file's form."""
    key: str
    """Stage key that the content belongs to; for an import, the artifact's own name."""
    digest: Digest
    """sha256 over path, size and sha256 of every file that is not a record."""
    files: list[FileEntry]
    """Every file, sorted by path."""
    step: int = Field(default=0, ge=0)
    """Optimizer steps (or rows) that it holds."""
    created_at: str
    """RFC 3339 time of writing."""
    checksum: Sha256 = "0" * 64
    """sha256 over all the rest of this file."""

    @model_validator(mode="after")
    def _sorted_and_once(self) -> Self:
        paths = [file.path for file in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("files must be sorted by path and each be named once")
        return self

    @property
    def total_bytes(self) -> int:
        """Size of all files, without the manifest."""
        return sum(file.bytes for file in self.files)

    def sealed(self) -> Self:
        """The same with its checksum."""
        return self.model_copy(update={"checksum": self._checksum()})

    def text(self) -> bytes:
        """What stands in the file."""
        return json.dumps(self.dump(), indent=1, ensure_ascii=False).encode() + b"\n"

    def _checksum(self) -> str:
        rest = {name: value for name, value in self.dump().items() if name != "checksum"}
        return hashlib.sha256(canonical_json(rest)).hexdigest()

    @property
    def is_sealed(self) -> bool:
        """Whether the checksum fits the rest."""
        return self.checksum == self._checksum()


class Manifest(Sealed):
    """Of a published artifact."""

    kind: ArtifactKind
    """What it is."""
    parents: dict[str, Digest] = Field(default_factory=dict)
    """Tree digest of each input, by its name: `model`, `data`, `heldOut[0]`, `validation`."""
    producer: Producer | None = None
    """Who made it; unset: imported."""
    origin: str = ""
    """Where an import came from, for people."""
    world_size: int = Field(default=1, ge=1)
    """Ranks that made it."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Few last metrics."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the code that made it: packages, Python, image."""


class StateManifest(Sealed):
    """Of a trainer state that a stage can go on from."""

    salt: int = Field(default=0, ge=0)
    """Salt of the attempt that wrote it."""
    form: int | None = Field(default=None, ge=1)
    """Form of its files (states.FORM); unset: from before forms had numbers."""


AnyManifest = TypeVar("AnyManifest", bound=Sealed)


def tree_digest(files: Iterable[FileEntry]) -> str:
    """`sha256:…` over canonical JSON of the sorted [path, bytes, sha256] of non-record files."""
    content = sorted([f.path, f.bytes, f.sha256] for f in files if not f.record)
    return f"sha256:{hashlib.sha256(canonical_json(content)).hexdigest()}"


def read_manifest(directory: Path, form: type[AnyManifest]) -> AnyManifest:
    """The manifest of an artifact or a state.

    Raises Corrupt where it is missing, cut, edited or does not add up; OSError where the disk
    cannot be read.
    """
    try:
        text = (directory / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Corrupt(directory, f"it has no {MANIFEST}, so its writing never ended") from error
    try:
        manifest = form.parse_json(text)
    except ValidationError as error:
        raise Corrupt(directory, f"its {MANIFEST} is cut or edited ({_first(error)})") from error
    if not manifest.is_sealed:
        raise Corrupt(directory, f"its {MANIFEST} was edited: the checksum does not fit")
    if manifest.digest != tree_digest(manifest.files):
        raise Corrupt(directory, f"its {MANIFEST} names a tree digest that its files do not have")
    return manifest


def canonical_json(value: Any) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def now() -> str:
    """RFC 3339 time of this moment, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
