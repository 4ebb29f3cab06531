"""Models and tokenizers from an artifact's directory, or random weights where it asks for them."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sources import FROM_CONFIG
from acereason_trainer.stage import StageFailure

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The first GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a Hugging Face directory; its end-of-text token must be set."""
    # AutoTokenizer may put a model type's own splitting of text in the place of tokenizer.json's
    # (it does for qwen2), so that text would be read as other tokens than the model was trained on.
    verbatim = (directory / "tokenizer.json").exists()
    loader = PreTrainedTokenizerFast if verbatim else AutoTokenizer
    tokenizer = loader.from_pretrained(directory)
    if tokenizer.eos_token_id is None:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "NoEndToken",
            f"the tokenizer in {directory.name} has no eos_token; responses could never end",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer


def load_model(directory: Path, loading: ModelLoading) -> Any:
    """A causal language model on its device."""
    dtype = DTYPES[loading.dtype]
    config = AutoConfig.from_pretrained(directory)
    if loading.rope_theta is not None:
        config.rope_parameters = {**config.rope_parameters, "rope_theta": loading.rope_theta}
    random_weights = directory / FROM_CONFIG
    if random_weights.exists():
        torch.manual_seed(json.loads(random_weights.read_text())["seed"])
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=dtype)
    return model.to(device()).eval()


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Token ids that end a response: the tokenizer's, and those of the generation config."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset([tokenizer.eos_token_id, *(i for i in ids if i is not None)])
