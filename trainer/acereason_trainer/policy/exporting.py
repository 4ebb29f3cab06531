"""A trained model as a plain Hugging Face directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from acereason_trainer.artifacts.errors import told_when_full
from acereason_trainer.policy.loading import stop_tokens

SAMPLING = ("temperature", "top_p", "top_k", "min_p")
"""What a generation config says of how answers are drawn, where it says `do_sample`."""


def export_model(
    model: Any,
    tokenizer: Any,
    directory: Path,
    weights: Mapping[str, Tensor | None] | None = None,
) -> None:
    """Write config, weights, generation config and tokenizer; `from_pretrained` reads them.

    weights: by name, where the module itself does not hold them. Raises StoreFull.
    """
    model.generation_config = _generation_config(model, tokenizer)
    with told_when_full(directory):
        model.save_pretrained(directory, state_dict=weights)
        tokenizer.save_pretrained(directory)


def _generation_config(model: Any, tokenizer: Any) -> GenerationConfig:
    """Whatever ends a response here ends one for those who read the directory, and answers are
    drawn as the base's makers advise.

    Nothing else of the base's: its limit of new tokens (2,048 in Qwen2.5-Math-7B's) would cut what
    a model was trained to write at length, for vLLM's server too, and no penalty of it was there
    when the model was trained and measured. Some bases' cannot even be written again.
    """
    base = model.generation_config
    ends = sorted(stop_tokens(model, tokenizer))
    advised = {name: getattr(base, name, None) for name in SAMPLING} if base.do_sample else {}
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=base.do_sample or None,
        **advised,
    )
