"""The file that a verb writes for a person: whole, or as it was before.

What is written goes to a hidden sibling, which takes the file's place only when all went well. So a
verb that fails leaves an earlier output alone, and nobody ever reads half of a new one.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class OutputRefused(Exception):
    """The output cannot be written; the text says why and what would be right."""


@contextmanager
def output_file(path: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """The path to write to inside; at the end of the block it becomes `path`.

    inputs: files and directories that are read meanwhile; the output is none of them and lies in
    none. What is no regular file (a pipe, /dev/null) is written straight.

    Raises OutputRefused, before anything is written or where the sibling cannot be made.
    """
    target = path.resolve()
    for one in inputs:
        if target.is_relative_to(one.resolve()):
            where = "is" if target == one.resolve() else "lies in"
            raise OutputRefused(f"--out {path} {where} the input {one}; give another file")
    if target.is_dir():
        raise OutputRefused(f"--out {path} is a directory; give a file in it")
    if not target.parent.is_dir():
        raise OutputRefused(
            f"--out {path}: {path.parent} is no directory; make it first, or give another file"
        )
    if target.exists() and not target.is_file():
        yield target
        return
    # A name by chance: in a container the process has the same number as the one before, which may
    # have left its file behind.
    sibling = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        sibling.open("x").close()
    except OSError as e:
        raise OutputRefused(f"--out {path} cannot be written: {e.strerror}") from e
    try:
        yield sibling
        sibling.replace(target)
    finally:
        sibling.unlink(missing_ok=True)
