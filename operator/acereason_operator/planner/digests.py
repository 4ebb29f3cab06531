"""Fingerprints of what a stage is told, so that an edit shows.

A newer version of this code may make others from the same file, and that alone must stop nothing.
So each says which form it has, one of another form is compared with nothing, and the run takes over
those of this form (`edits.adopted`).
"""

import json
from hashlib import sha256
from typing import Any

from acereason_trainer.config.stage_file import (
    SEMANTICS,
    SEMANTICS_OF_PARTS,
    settings_for_key,
)

from acereason_operator.api.run import AceReasonRunSpec, Stage, Storage
from acereason_operator.planner.named_inputs import NamedInputs

FORM = 5
"""Raised with every change of what these digests are made from, a new default of a field too."""


def settings_digest(spec: AceReasonRunSpec, stage: Stage, inputs: NamedInputs) -> str:
    """Of all in the spec that the stage key depends on: settings, seed, and which inputs; and of
    the volume, since what another one holds is not there."""
    data = {
        "kind": stage.kind,
        "seed": spec.seed,
        "settings": settings_for_key(stage.settings),
        "inputs": {name: source.dump() for name, source in inputs.by_name()},
        "volume": _volume(spec.storage),
    }
    return _form(stage) + digest_of(data)


def spec_digest(spec: AceReasonRunSpec, stage: Stage, settings: str) -> str:
    """Of all that an attempt is told, image, resources and queue too; not of budgets, which are
    looked at by themselves, nor of holding it back.

    settings: its settings digest.
    """
    aside = {"name", "retries", "suspend", "needs"}
    data = {
        "settings": settings,
        "stage": _without(stage.dump(), aside),
        "defaults": _without(spec.defaults.dump(), aside),
        "storage": spec.storage.dump(),
        "queue": spec.queue.dump() if spec.queue else None,
    }
    return _form(stage) + digest_of(data)


def has_this_form(digest: str, stage: Stage) -> bool:
    """Whether the digest of a stage can be compared with those that are made here."""
    return digest.startswith(_form(stage))


def digest_of(data: Any) -> str:
    """sha256 of plain data, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _form(stage: Stage) -> str:
    """`1.4:`. What the trainer makes of the same settings belongs to it: of all parts, whether the
    stage has them or not, since an edit of its settings must leave the form as it is."""
    return f"{FORM}.{SEMANTICS[stage.kind] + sum(SEMANTICS_OF_PARTS.values())}:"


def _volume(storage: Storage) -> str | None:
    """Which store is meant. A directory is its own answer: the status of its runs lies in it."""
    template = storage.claim_template
    return template.name if template else storage.claim or storage.object_store


def _without(data: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
