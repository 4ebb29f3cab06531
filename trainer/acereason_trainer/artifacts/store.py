"""Published artifacts in a directory: immutable, found by key, first one wins.

    <root>/artifacts/<key>/            files, then manifest.json
    <root>/artifacts/.tmp-<key>-…      being written; garbage after a day
    <root>/artifacts/.aside-<key>-…    stood where an artifact belongs and was none

A rename makes an artifact appear whole or not at all. It may fail because another attempt was
first, or (NFS) succeed and report a failure, so what counts is what stands there afterwards.
"""

import logging
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from acereason_trainer.artifacts.errors import Corrupt, NotFound, told_when_full
from acereason_trainer.artifacts.flushing import flush, flush_tree, write_flushed
from acereason_trainer.artifacts.hashing import hash_files, hash_tree, plain_files
from acereason_trainer.artifacts.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    Producer,
    now,
    tree_digest,
)
from acereason_trainer.artifacts.verifying import check_content, check_sizes
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import ArtifactKind, PublishedArtifact

ARTIFACTS = "artifacts"
TEMPORARY = ".tmp-"
ASIDE = ".aside-"

_RENAMES = 8
"""Looks at a contested place before giving up; each lost one means that somebody else moved."""

_log = logging.getLogger(__name__)


class Store(Protocol):
    """Where artifacts are published, whatever keeps the bytes."""

    def lookup(self, key: str) -> PublishedArtifact | None:
        """A finished artifact under this key, by manifest and sizes; None where there is none."""
        ...

    def publish(
        self,
        source_dir: Path,
        *,
        key: str,
        kind: ArtifactKind,
        records: Collection[str] = (),
        parents: Mapping[str, str],
        producer: Producer | None,
        step: int = 0,
        world_size: int = 1,
        metrics: Mapping[str, float] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> PublishedArtifact:
        """Make the files of a directory an artifact; the one that was published first is returned.

        The files are taken: `source_dir` is left without them. `records` name those (relative,
        with `/`) that hold times or samples for people and stay out of the tree digest. `parents`
        are the tree digests of the inputs. Raises StoreFull; nothing published is ever changed.
        """
        ...

    def verify(self, ref: ArtifactRef) -> Manifest:
        """Manifest of an artifact of which every byte was hashed.

        Raises NotFound, or Corrupt with the file that is wrong.
        """
        ...

    def import_files(
        self, files: Mapping[str, Path | bytes], *, kind: ArtifactKind, origin: str
    ) -> ArtifactRef:
        """Copy content from outside into an artifact named by its digest, unless it is there."""
        ...

    def manifest(self, uri: str) -> Manifest:
        """Manifest of an artifact. Raises NotFound or Corrupt."""
        ...

    def all(self) -> Iterator[tuple[PublishedArtifact, Manifest]]:
        """Every artifact with a valid manifest, sorted by key."""
        ...


class DirectoryStore:
    """A store in a directory: a disk, or a volume that many nodes mount."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._artifacts = root / ARTIFACTS

    def lookup(self, key: str) -> PublishedArtifact | None:
        """See Store. What stands there and is no artifact is reported in the log."""
        directory = self._artifacts / key
        if not directory.exists():
            return None
        try:
            return self._published(_named(check_sizes(directory, Manifest), directory))
        except Corrupt as corrupt:
            _log.warning("%s; it is not used", corrupt)
            return None

    def publish(
        self,
        source_dir: Path,
        *,
        key: str,
        kind: ArtifactKind,
        records: Collection[str] = (),
        parents: Mapping[str, str],
        producer: Producer | None,
        step: int = 0,
        world_size: int = 1,
        metrics: Mapping[str, float] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> PublishedArtifact:
        """See Store. On one filesystem the files are moved, not copied."""
        with self._temporary(key) as temporary:
            _take(source_dir, temporary)
            files = hash_tree(temporary, records)
            manifest = Manifest(
                key=key,
                kind=kind,
                digest=tree_digest(files),
                files=files,
                parents=dict(parents),
                producer=producer,
                step=step,
                world_size=world_size,
                metrics=dict(metrics or {}),
                versions=dict(versions or {}),
                created_at=now(),
            ).sealed()
            return self._commit(temporary, manifest)

    def verify(self, ref: ArtifactRef) -> Manifest:
        """See Store."""
        manifest = self.hashed(ref.uri)
        if manifest.digest != ref.digest:
            raise Corrupt(
                self.directory(ref.uri),
                f"it is whole, but its digest is {manifest.digest}, not {ref.digest}",
            )
        return manifest

    def hashed(self, uri: str) -> Manifest:
        """Manifest of what stands there, every byte hashed. Raises NotFound or Corrupt."""
        directory = self.directory(uri)
        if not directory.exists():
            raise NotFound(directory)
        return _named(check_content(directory, Manifest), directory)

    def import_files(
        self, files: Mapping[str, Path | bytes], *, kind: ArtifactKind, origin: str
    ) -> ArtifactRef:
        """See Store. The copy is hashed, not the source, which may change meanwhile."""
        standing = self.finished(import_key(kind, hash_files(files)))
        if standing is not None:
            return ArtifactRef(uri=standing.uri, digest=standing.digest)
        with self._temporary(f"{kind}-import") as temporary:
            for name, content in files.items():
                _copy(content, temporary / name)
            copied = hash_tree(temporary)
            manifest = Manifest(
                key=import_key(kind, copied),
                kind=kind,
                digest=tree_digest(copied),
                files=copied,
                origin=origin,
                created_at=now(),
            ).sealed()
            published = self._commit(temporary, manifest)
        return ArtifactRef(uri=published.uri, digest=published.digest)

    def import_path(self, path: Path, kind: ArtifactKind) -> ArtifactRef:
        """Import a file, or all files of a directory except hidden ones; links are followed."""
        return self.import_files(files_at(path), kind=kind, origin=str(path))

    def manifest(self, uri: str) -> Manifest:
        """See Store."""
        directory = self.directory(uri)
        if not directory.exists():
            raise NotFound(directory)
        return _named(check_sizes(directory, Manifest), directory)

    def all(self) -> Iterator[tuple[PublishedArtifact, Manifest]]:
        """See Store. What is no artifact is left out; `verify` says what is wrong with it."""
        for key in self.names():
            try:
                manifest = self.manifest(f"{ARTIFACTS}/{key}")
            except Corrupt as corrupt:
                _log.warning("%s", corrupt)
                continue
            yield self._published(manifest), manifest

    def names(self) -> list[str]:
        """Names of everything that stands where artifacts are, valid or not."""
        if not self._artifacts.exists():
            return []
        return sorted(p.name for p in self._artifacts.iterdir() if not p.name.startswith("."))

    def directory(self, uri: str) -> Path:
        """Where an artifact's files are: `uri` is below the root, or absolute."""
        return self.root / uri

    def _published(self, manifest: Manifest) -> PublishedArtifact:
        return PublishedArtifact(
            uri=f"{ARTIFACTS}/{manifest.key}",
            digest=manifest.digest,
            bytes=manifest.total_bytes,
            kind=manifest.kind,
        )

    def finished(self, key: str) -> PublishedArtifact | None:
        """What is published under a key, if every byte of it is right; a damaged result is named
        in the log and made again."""
        directory = self._artifacts / key
        if not directory.exists():
            return None
        try:
            return self._published(_named(check_content(directory, Manifest), directory))
        except Corrupt as corrupt:
            _log.warning("%s; it is made again", corrupt)
            return None

    @contextmanager
    def _temporary(self, key: str) -> Iterator[Path]:
        path = self._artifacts / f"{TEMPORARY}{key}-{secrets.token_hex(8)}"
        with told_when_full(path):
            path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _commit(self, temporary: Path, manifest: Manifest) -> PublishedArtifact:
        flush_tree(temporary)
        write_flushed(temporary / MANIFEST, manifest.text())
        flush(temporary)
        target = self._artifacts / manifest.key
        for _ in range(_RENAMES):
            try:
                temporary.rename(target)
            except OSError as error:
                refused = error
            else:
                flush(self._artifacts)
                return self._published(manifest)
            standing = self.finished(manifest.key)
            if standing is not None:
                return standing
            if target.exists():
                self._move_aside(target)
        with told_when_full(target):
            raise refused

    def _move_aside(self, target: Path) -> None:
        aside = self._artifacts / f"{ASIDE}{target.name}-{secrets.token_hex(8)}"
        try:
            target.rename(aside)
        except FileNotFoundError:
            return  # another publisher moved it
        try:
            _named(check_content(aside, Manifest), aside, key=target.name)
        except Corrupt:
            return
        # Published by another one between our look and our rename: back to its place, unless a
        # third one has taken that meanwhile.
        with suppress(OSError):
            aside.rename(target)


def files_at(path: Path) -> dict[str, Path]:
    """What an import of a file or directory copies: path in the artifact -> source.

    Hidden files and folders (.git, .cache) are left out. Raises FileNotFoundError.
    """
    if path.is_file():
        return {path.name: path}
    files = {}
    for folder, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            source = Path(folder, name)
            relative = source.relative_to(path).as_posix()
            if not name.startswith(".") and relative != MANIFEST:
                files[relative] = source
    return files


def _named(manifest: Manifest, directory: Path, key: str | None = None) -> Manifest:
    """The manifest, if it belongs to the directory's name (or `key`): a copy is no result."""
    if manifest.key != (key or directory.name):
        raise Corrupt(directory, f"its {MANIFEST} belongs to {manifest.key}")
    return manifest


def import_key(kind: str, files: list[FileEntry]) -> str:
    """Name of an import: its kind and the start of its tree digest."""
    return f"{kind}-{tree_digest(files).removeprefix('sha256:')[:32]}"


def _take(source: Path, target: Path) -> None:
    """Move the files; those that share their bytes with another name are copied."""
    for name in list(plain_files(source)):
        file, place = source / name, target / name
        with told_when_full(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.stat().st_nlink == 1:
                shutil.move(file, place)
            else:
                shutil.copyfile(file, place)
                file.unlink()


def _copy(content: Path | bytes, target: Path) -> None:
    with told_when_full(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copyfile(content, target)


def _raise(error: OSError) -> None:
    raise error
