"""Models and tokenizers from an artifact's directory, or random weights where it asks for them.

The sampler and the policy call a model's body and its output matrix themselves, with masks of their
own. A model that does more than that would be sampled and trained as another one, so it is refused.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sources import FROM_CONFIG
from acereason_trainer.stage import StageFailure

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_PLAIN_HEAD = {
    "final_logit_softcapping": None,  # Gemma 2 and 3, NanoChat
    "logits_soft_cap": None,  # RecurrentGemma
    "output_logit_soft_cap": None,  # xLSTM
    "logit_scale": 1,  # Cohere
    "logits_scaling": 1,  # Granite, MiniCPM3
    "lm_head_multiplier": 1,  # Falcon H1
}
"""Fields of a configuration that change the logits after the output matrix, and the value besides
null with which they do not."""


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


def load_config(directory: Path, loading: ModelLoading) -> Any:
    """The configuration of a Hugging Face directory, with the stage's own context."""
    config = AutoConfig.from_pretrained(directory)
    if loading.rope_theta is not None:
        rope = rope_parameters(config, "loading.ropeTheta")
        config.rope_parameters = {**rope, "rope_theta": loading.rope_theta}
    if loading.max_position_embeddings is not None:
        config.max_position_embeddings = loading.max_position_embeddings
    return config


def rope_parameters(config: Any, setting: str) -> dict[str, Any]:
    """How a model turns positions into rotations. Raises StageFailure where it does not (GPT-2,
    OPT), for the setting that needs it."""
    text = config.get_text_config()
    found: dict[str, Any] | None = getattr(text, "rope_parameters", None)
    if found is None:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "UnsupportedModel",
            f"the {text.model_type} model has no rotary positions (rope_parameters of its "
            f"configuration), which {setting} needs; leave that away, or choose a model that has "
            "them, such as Qwen2, Qwen3 or Llama",
        )
    return dict(found)


def load_model(directory: Path, loading: ModelLoading, where: torch.device | None = None) -> Any:
    """A causal language model, on its device or `where` it is asked for.

    On the CPU the weights are a map of the files, read when they are needed, where the files hold
    them in the number format asked for. Raises StageFailure for an architecture that cannot be
    sampled and trained right here.
    """
    dtype = DTYPES[loading.dtype]
    config = load_config(directory, loading)
    _require_plain_head(config.get_text_config())
    _require_full_attention(config.get_text_config())
    random_weights = directory / FROM_CONFIG
    if random_weights.exists():
        torch.manual_seed(json.loads(random_weights.read_text())["seed"])
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for p in model.parameters():  # not buffers: rotary frequencies stay what a loaded model has
            p.data = p.data.to(dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=dtype)
    return model.to(device() if where is None else where).eval()


def check_context(config: Any, tokens: int, loading: ModelLoading) -> None:
    """Raise StageFailure where a sequence of this many tokens is longer than the model can read."""
    limit = context_of(config, loading)
    if limit is None or tokens <= limit:
        return
    if loading.max_position_embeddings is not None:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "ContextTooShort",
            f"a sequence may have {tokens:,} tokens, and loading.maxPositionEmbeddings is "
            f"{limit:,}; raise it, or ask for fewer tokens",
        )
    raise StageFailure(
        ExitCode.BAD_CONFIGURATION,
        "ContextTooShort",
        f"a sequence may have {tokens:,} tokens but the model reads {limit:,} "
        "(max_position_embeddings of its config.json); ask for fewer tokens, or set "
        "loading.maxPositionEmbeddings, with a loading.ropeTheta for as long a context",
    )


def context_of(config: Any, loading: ModelLoading) -> int | None:
    """Tokens that the model can read; None where nobody says.

    A rotary base of the user's own (`loading.rope_theta`) is given to read more than the model's
    configuration promises, so there is no limit with one, but for that of
    `loading.max_position_embeddings`.
    """
    if loading.max_position_embeddings is not None:
        return loading.max_position_embeddings
    text = config.get_text_config()
    limit: int | None = getattr(text, "max_position_embeddings", None)
    if loading.rope_theta is not None or limit is None:
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "yarn":
        # Qwen's instructions add YaRN to a config.json and leave its limit as it was.
        return max(limit, int(rope["factor"] * rope["original_max_position_embeddings"]))
    return limit


def _require_plain_head(config: Any) -> None:
    for name, plain in _PLAIN_HEAD.items():
        value = getattr(config, name, None)
        if value not in (None, plain):
            raise _unsupported(config, f"changes the logits of its output matrix ({name} {value})")


def _require_full_attention(config: Any) -> None:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        other = sorted(set(kinds) - {"full_attention"})
        if other:
            raise _unsupported(config, f"has layers of kind {' and '.join(other)}")
        return
    window = getattr(config, "sliding_window", None)
    if window is not None and window < config.max_position_embeddings:
        raise _unsupported(config, f"attends to a sliding window (sliding_window {window})")


def _unsupported(config: Any, what: str) -> StageFailure:
    return StageFailure(
        ExitCode.BAD_CONFIGURATION,
        "UnsupportedModel",
        f"the {config.model_type} model {what}; sampling and training know full attention and a "
        "plain output matrix only; choose a model with both, such as Qwen2, Qwen3 or Llama",
    )


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Token ids that end a response: the tokenizer's, those of the generation config, and the one
    that the chat template writes behind an answer. A base model's own configuration often lacks
    that one, and such a model would never stop."""
    return _ends(model.generation_config, tokenizer)


def end_tokens(directory: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """The same without the model: of a Hugging Face directory and its configuration."""
    try:
        generation = GenerationConfig.from_pretrained(directory)
    except OSError:  # there is none
        generation = GenerationConfig.from_model_config(config)
    return _ends(generation, tokenizer)


def _ends(generation: Any, tokenizer: Any) -> frozenset[int]:
    configured = generation.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    all_ids = [tokenizer.eos_token_id, chat_end(tokenizer), *ids]
    return frozenset(i for i in all_ids if i is not None)


def chat_end(tokenizer: Any) -> int | None:
    """The special token that the chat template writes behind an answer, where it writes one."""
    if tokenizer.chat_template is None:
        return None
    said = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1."}]
    try:
        text = tokenizer.apply_chat_template(said, tokenize=False)
    except (TemplateError, TypeError, ValueError):  # made for prompts alone: no answer, no end
        return None
    _, answer, behind = text.rpartition("1.")
    if not answer:  # the template passes over answers
        return None
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None
