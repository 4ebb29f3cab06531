"""Random weights in the shape of real models, and documents and prompts of their length.

A model of random weights draws every token about as often as any other. So that its responses end
as a trained model's do, many tokens end one: of V tokens V / n, for a mean length of n.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QWEN2_5_VOCABULARY = 151_936


@dataclass(frozen=True)
class Shape:
    """A model and how much of everything its stages are given."""

    config: Mapping[str, int]
    """Of Qwen2Config."""
    vocabulary: int
    row: int
    """Tokens of a packed row of SFT, and of a micro-batch; no document is longer."""
    rows: int
    """Rows of a step."""
    length: tuple[float, float]
    """Mean and deviation of the logarithm of a document's tokens."""
    prompts: int
    """Of a step of RL."""
    group: int
    prompt: int
    """Tokens of a prompt."""
    response: int
    """Mean tokens of a response."""
    longest: int
    """Tokens at which a response is cut."""
    steps: int
    """That are measured, after WARM_UP others."""


def _qwen(hidden: int, mlp: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
    }


def _real(config: Mapping[str, int]) -> Shape:
    """As much as fills one GPU of 80 GB for some seconds in each step."""
    return Shape(
        config=config,
        vocabulary=QWEN2_5_VOCABULARY,
        row=8192,
        rows=8,
        length=(6.5, 0.9),
        prompts=32,
        group=16,
        prompt=200,
        response=1000,
        longest=4096,
        steps=5,
    )


SHAPES: Mapping[str, Shape] = {
    "Qwen2.5-0.5B": _real(_qwen(896, 4864, 24, 14)),
    "Qwen2.5-1.5B": _real(_qwen(1536, 8960, 28, 12)),
    "tiny": Shape(
        config=_qwen(64, 128, 2, 2),
        vocabulary=1000,
        row=256,
        rows=2,
        length=(4.0, 0.5),
        prompts=4,
        group=4,
        prompt=20,
        response=15,
        longest=48,
        steps=2,
    ),
}
ON_A_GPU = ("Qwen2.5-0.5B", "Qwen2.5-1.5B")
"""Those that are figures; `tiny` shows that everything runs, on any device."""
WARM_UP = 2


def random_model(shape: Shape, folder: Path, dtype: str) -> Path:
    """A Hugging Face folder with weights, tokenizer and generation config."""
    import torch
    from acereason_trainer.config.common import ModelLoading
    from acereason_trainer.policy.exporting import export_model
    from acereason_trainer.policy.loading import load_model, load_tokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    source, end = folder / "shape", shape.vocabulary - 1
    words = {f"w{n}": n for n in range(end)} | {"<eos>": end}
    core: Any = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    make_tokenizer: Any = PreTrainedTokenizerFast  # transformers declares no types for it
    make_tokenizer(tokenizer_object=core, eos_token="<eos>", pad_token="<eos>").save_pretrained(
        source
    )
    sizes: dict[str, Any] = dict(shape.config)
    Qwen2Config(
        **sizes,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=True,
        max_position_embeddings=32768,
        bos_token_id=None,
        eos_token_id=end,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(source)
    (source / "from_config.json").write_text(json.dumps({"seed": 0}))
    model = load_model(source, ModelLoading.parse({"dtype": dtype}), torch.device("cpu"))
    ends = random.Random("ends").sample(range(end), shape.vocabulary // shape.response)
    model.generation_config.eos_token_id = sorted([*ends, end])
    out = folder / "model"
    export_model(model, load_tokenizer(source), out)
    return out


def documents(shape: Shape) -> list[list[int]]:
    """Answers' lengths are log-normal; prompts are as long as RL's. Token ids, one list each; more
    than all steps train on."""
    rng = random.Random("documents")
    room = 1.1 * shape.row * shape.rows * (shape.steps + WARM_UP)
    found, tokens = [], 0
    while tokens < room:
        length = min(int(rng.lognormvariate(*shape.length)), shape.row - shape.prompt - 2)
        found.append([rng.randrange(shape.vocabulary - 1) for _ in range(max(length, 2))])
        tokens += length + shape.prompt
    return found


def prompts(shape: Shape, number: int) -> Iterator[str]:
    """Words of the model's own, one token each."""
    rng = random.Random("prompts")
    for _ in range(number):
        yield in_words([rng.randrange(shape.vocabulary - 1) for _ in range(shape.prompt)])


def in_words(ids: list[int]) -> str:
    """The text that is read as these tokens."""
    return " ".join(f"w{n}" for n in ids)
