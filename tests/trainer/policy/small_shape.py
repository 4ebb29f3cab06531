"""A model whose memory is measured: large enough to be seen, and small enough to be run."""

from pathlib import Path

import torch
from acereason_trainer.policy.memory_plan import Shape
from acereason_trainer.policy.protocol import Batch
from transformers import AutoModelForCausalLM, Qwen2Config

SHAPE = Shape(6, 128, 512, 4, 2, 32, 1024, tied=True)
LENGTH = 256


def save_model(directory: Path, tokenizer: Path) -> None:
    """A folder of this shape with random weights, and the tokenizer of another folder."""
    config = Qwen2Config(
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.hidden,
        intermediate_size=SHAPE.intermediate,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.key_heads,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((tokenizer / name).read_bytes())


def a_batch(tokens: int, ranks: int = 1) -> Batch:
    """Two micro-batches of so many tokens for each rank: in the second, the gradients of the first
    are there."""
    documents = 2 * ranks * tokens // LENGTH
    sequence = torch.randint(0, SHAPE.vocabulary, (LENGTH,)).tolist()
    return Batch(
        sequences=[sequence] * documents,
        prompt_lengths=[1] * documents,
        token_weights=[torch.full((LENGTH - 1,), 1 / tokens)] * documents,
    )
