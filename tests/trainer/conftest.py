"""A tiny real model and tokenizer, made once per session: seconds matter more than answers."""

from pathlib import Path

import pytest
from acereason_trainer.policy.amx import make_bfloat16_safe

from tests.python_path import python_path
from tests.trainer.taught import taught

make_bfloat16_safe()


@pytest.fixture
def importable_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the verifier, too, find `tests.trainer.letters`."""
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", python_path(root))
    monkeypatch.syspath_prepend(root)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a 2-layer Qwen2 with random weights and a character tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    directory = tmp_path_factory.mktemp("tiny-model")
    characters = "".join(chr(c) for c in range(32, 127)) + "\n"
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    vocabulary |= {c: i + 3 for i, c in enumerate(characters)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        Qwen2Config(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            initializer_range=0.3,
            tie_word_embeddings=True,
            eos_token_id=1,
            pad_token_id=0,
            bos_token_id=None,
        )
    )
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def taught_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tiny model, taught to be right now and then (tests/trainer/taught.py)."""
    return taught(tiny_model, tmp_path_factory.mktemp("taught"))
