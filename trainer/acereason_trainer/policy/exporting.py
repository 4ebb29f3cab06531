"""A trained model as a plain Hugging Face directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.policy.loading import stop_tokens


def export_model(
    model: Any,
    tokenizer: Any,
    directory: Path,
    weights: Mapping[str, Tensor | None] | None = None,
) -> None:
    """Write config, weights, generation config and tokenizer; `from_pretrained` reads them.

    weights: by name, where the module itself does not hold them. Whatever ends a response here ends
    one for those who read the directory. Raises StoreFull.
    """
    ends = stop_tokens(model, tokenizer)
    configured = model.generation_config.eos_token_id
    if {*(configured if isinstance(configured, list) else [configured])} != ends:
        model.generation_config.eos_token_id = sorted(ends) if len(ends) > 1 else min(ends)
    with told_when_full(directory):
        model.save_pretrained(directory, state_dict=weights)
        tokenizer.save_pretrained(directory)
