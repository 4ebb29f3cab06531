"""Fingerprints of what a stage is told, so that an edit shows.

They are compared only when the run's generation has changed: a newer version of this code may
compute others for the same file, and that alone must stop nothing.
"""

import json
from hashlib import sha256
from typing import Any

from acereason_trainer.config.stage_file import SEMANTICS, settings_for_key

from acereason_operator.api.run import AceReasonRunSpec, Stage, Storage
from acereason_operator.planner.named_inputs import NamedInputs


def settings_digest(spec: AceReasonRunSpec, stage: Stage, inputs: NamedInputs) -> str:
    """Of all in the spec that the stage key depends on: settings, seed, and which inputs; and of
    the volume, since what another one holds is not there."""
    return digest_of(
        {
            "kind": stage.kind,
            "semantics": SEMANTICS[stage.kind],
            "seed": spec.seed,
            "settings": settings_for_key(stage.settings),
            "inputs": {name: source.dump() for name, source in inputs.by_name()},
            "volume": _volume(spec.storage),
        }
    )


def spec_digest(spec: AceReasonRunSpec, stage: Stage, settings: str) -> str:
    """Of all that an attempt is told, image, resources and queue too; not of budgets, which are
    looked at by themselves, nor of holding it back.

    settings: its settings digest.
    """
    aside = {"name", "retries", "suspend", "needs"}
    return digest_of(
        {
            "settings": settings,
            "stage": _without(stage.dump(), aside),
            "defaults": _without(spec.defaults.dump(), aside),
            "storage": spec.storage.dump(),
            "queue": spec.queue.dump() if spec.queue else None,
        }
    )


def digest_of(data: Any) -> str:
    """sha256 of plain data, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _volume(storage: Storage) -> str | None:
    """Which store is meant. A directory is its own answer: the status of its runs lies in it."""
    template = storage.claim_template
    return template.name if template else storage.claim or storage.object_store


def _without(data: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
