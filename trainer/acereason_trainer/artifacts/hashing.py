"""sha256 of whole directories, on several threads.

A checkpoint is a few files of gigabytes: hashlib lets go of the interpreter while it digests, so
threads keep the disk and the cores busy, each with its own file.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.artifacts.manifest import MANIFEST, FileEntry

CHUNK = 1 << 20
"""Bytes of one read. Anything from 64 KiB to 4 MiB is equally fast on a local disk; a network one
likes few large reads."""
THREADS = 8
"""Files hashed at once: enough to keep a network disk busy; cores bound it on a local one."""


def hash_tree(directory: Path, records: Collection[str] = ()) -> list[FileEntry]:
    """Size and sha256 of every file below a directory except its manifest, sorted by path.

    `records` are the paths that stay out of the tree digest. Raises Corrupt for anything that is
    neither a plain file nor a directory: an artifact must hold its own bytes.
    """
    return hash_files({name: directory / name for name in plain_files(directory)}, records)


def hash_files(files: Mapping[str, Path | bytes], records: Collection[str] = ()) -> list[FileEntry]:
    """The same for files that are not in one directory yet: path in the tree -> its content."""
    stop = Event()

    def entry(name: str) -> FileEntry:
        size, digest = _digest(files[name], stop)
        return FileEntry(path=name, bytes=size, sha256=digest, record=name in records)

    with ThreadPoolExecutor(min(THREADS, max(1, len(files)))) as pool:
        try:
            return list(pool.map(entry, sorted(files)))
        finally:  # a signal or a bad file: hours of reading must not hold up the end
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def plain_files(directory: Path) -> Iterable[str]:
    """Paths of the files below a directory, relative and with `/`, without its manifest."""
    for folder, folders, names in os.walk(directory, onerror=_raise):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                relative = path.relative_to(directory).as_posix()
                raise Corrupt(directory, f"{relative} is not a plain file")
        for name in names:
            relative = Path(folder, name).relative_to(directory).as_posix()
            if relative != MANIFEST:
                yield relative


def _raise(error: OSError) -> None:
    raise error


def _digest(content: Path | bytes, stop: Event) -> tuple[int, str]:
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    with content.open("rb", buffering=0) as file:
        while (count := file.readinto(buffer)) and not stop.is_set():
            digest.update(buffer[:count])
            size += count
    return size, digest.hexdigest()
