"""What a state holds changes only together with the number of its form, which older code knows."""

import hashlib
import json
from typing import Any

from acereason_trainer.artifacts.states import FORM
from acereason_trainer.policy.state_files import STEPS_FILE, WEIGHT
from acereason_trainer.rl.checkpoint_choice import PLACE
from acereason_trainer.rl.curriculum import Curriculum

PINNED = (1, "ccf8b78fff233449")


def test_what_an_rl_stage_keeps_in_its_states_is_of_the_pinned_form() -> None:
    forms = {**without_words(Curriculum.model_json_schema()), "policy": [STEPS_FILE, WEIGHT, PLACE]}
    digest = hashlib.sha256(json.dumps(forms, sort_keys=True).encode()).hexdigest()[:16]
    assert (FORM, digest) == PINNED, (
        "states hold something else than before. Raise FORM in artifacts/states.py where a version "
        "before this could not read them (a new field is one that it does not know), see that "
        "states of before are still read, and pin the new pair here"
    )


def without_words(schema: Any) -> Any:
    """A JSON schema without what is said for people."""
    if isinstance(schema, dict):
        kept = {k: v for k, v in schema.items() if k not in ("description", "title")}
        return {name: without_words(part) for name, part in kept.items()}
    return [without_words(part) for part in schema] if isinstance(schema, list) else schema
