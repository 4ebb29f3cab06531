"""Bytes that a crash or a power cut does not take back: written, flushed, then renamed."""

import os
from pathlib import Path

from acereason_trainer.artifacts.errors import told_when_full


def flush(path: Path) -> None:
    """fsync one file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with told_when_full(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(directory: Path) -> None:
    """fsync every file and directory below, then the directory itself."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            flush(Path(folder, name))
        flush(Path(folder))


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file and flush it; the directory is the caller's."""
    with told_when_full(path), path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Replace a small file in one step: a reader sees the old content or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with told_when_full(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)
