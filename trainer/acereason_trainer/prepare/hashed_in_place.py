"""A store for looking ahead: it says what an import would be called, and imports nothing."""

from collections.abc import Mapping
from pathlib import Path

from acereason_trainer.artifacts.hashing import hash_files
from acereason_trainer.artifacts.manifest import tree_digest
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore, import_key
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import ArtifactKind


class HashedInPlace(DirectoryStore):
    """Reads like the directory store; sources are hashed where they are."""

    def import_files(
        self, files: Mapping[str, Path | bytes], *, kind: ArtifactKind, origin: str
    ) -> ArtifactRef:
        """The artifact that an import would give."""
        hashed = hash_files(files)
        return ArtifactRef(
            uri=f"{ARTIFACTS}/{import_key(kind, hashed)}", digest=tree_digest(hashed)
        )
