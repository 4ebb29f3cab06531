"""Is a directory what its manifest says? Cheaply, by names and sizes, or in full, by hashes."""

from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.artifacts.hashing import hash_files, plain_files
from acereason_trainer.artifacts.manifest import AnyManifest, read_manifest


def check_sizes(directory: Path, form: type[AnyManifest]) -> AnyManifest:
    """Manifest of a directory that holds exactly its files, each of the right size.

    Raises Corrupt, with the file, otherwise.
    """
    manifest = read_manifest(directory, form)
    listed = {file.path: file.bytes for file in manifest.files}
    found = set(plain_files(directory))
    if missing := sorted(listed.keys() - found):
        raise Corrupt(directory, f"{_and_more(missing)} missing")
    if extra := sorted(found - listed.keys()):
        raise Corrupt(directory, f"{_and_more(extra)} not in its manifest")
    for name, size in listed.items():
        there = (directory / name).stat().st_size
        if there != size:
            raise Corrupt(directory, f"{name} has {there} bytes; its manifest says {size}")
    return manifest


def check_content(directory: Path, form: type[AnyManifest]) -> AnyManifest:
    """The same, with every byte hashed."""
    manifest = check_sizes(directory, form)
    found = hash_files({file.path: directory / file.path for file in manifest.files})
    for listed, there in zip(manifest.files, found, strict=True):
        if listed.sha256 != there.sha256:
            raise Corrupt(directory, f"{listed.path} does not hash to what its manifest says")
    return manifest


def _and_more(names: list[str]) -> str:
    rest = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return names[0] + rest
