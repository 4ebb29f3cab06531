"""The stage key: equal keys mean equal results, so a finished artifact is used again.

In it is whatever changes results: kind and semantics, the settings after defaults, the seed, the
tree digests of the inputs. Names, image, environment, nodes, retries and save cadence are not, nor
is the salt of a health stop: it draws the same experiment again.
"""

import hashlib

from acereason_trainer.artifacts.manifest import canonical_json
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import (
    PreparedInputs,
    StageFile,
    semantics_of,
    settings_for_key,
)


def stage_key(file: StageFile, inputs: PreparedInputs) -> str:
    """`<kind>-<32 hex digits>` of a stage with these inputs; names its artifact."""
    kind = file.settings.kind
    content = {
        "kind": kind,
        "semantics": semantics_of(file.settings),
        "settings": settings_for_key(file.settings.settings),
        "seed": file.seed,
        "inputs": {
            "model": _digest(inputs.model),
            "data": _digest(inputs.data),
            "heldOut": [ref.digest for ref in inputs.held_out],
            "validation": _digest(inputs.validation),
        },
    }
    return f"{kind}-{hashlib.sha256(canonical_json(content)).hexdigest()[:32]}"


def _digest(ref: ArtifactRef | None) -> str | None:
    return None if ref is None else ref.digest
