"""Which code a figure would come from: what other code has found is not kept as this one's."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

TRAINER = Path("trainer/acereason_trainer")


def code_identity(*others: Path) -> str:
    """Ten hexadecimal digits of the trainer's source and of these other files, whatever is
    committed of it."""
    found = hashlib.sha256()
    for path in _sorted([*TRAINER.rglob("*.py"), *others]):
        content = path.read_bytes()
        found.update(f"{path} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:10]


def remove_others(own: Path) -> None:
    """Remove the folders beside one that is named by its code: no code of today asks for them, and
    each holds gigabytes of checkpoints."""
    for beside in own.parent.glob("*/"):
        if beside != own:
            shutil.rmtree(beside)


def _sorted(paths: Sequence[Path]) -> list[Path]:
    return sorted(set(paths), key=str)
