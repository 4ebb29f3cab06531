"""A tokenizer of at most 512 tokens, trained on the quickstart's own texts.

A model of 0.4M parameters has no room for spelling: numbers are single tokens, so that arithmetic
is a table to learn, and the papers' fixed instructions are single tokens, so that they cost one
position. A space belongs to the word beside it, never to a number: `3` is the same token wherever
it stands.
"""

from collections.abc import Iterable
from pathlib import Path

from acereason_trainer.config.common import Prompting
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 512
PAD, EOS, USER, ASSISTANT = "<pad>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"

# A word with the space before it, and with the one after it where a number follows; a number alone;
# any other characters likewise; line breaks alone.
_PIECES = r" ?[A-Za-z]+(?: (?=\d))?|\d+| ?[^\sA-Za-z\d]+(?: (?=\d))?|\n+| "

# DeepSeek-R1's form, as AceReason 1.0 uses it (appendix A.1). The papers have no system prompt
# there, so neither has this. The trainer adds `<think>` after the assistant's token.
_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ '" + USER + "' + message['content'] }}"
    "{%- else -%}{{ '" + ASSISTANT + "' + message['content'] + '" + EOS + "' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '" + ASSISTANT + "' }}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer for these texts, with a chat template in the papers' form."""
    prompting = Prompting()
    fixed = [
        prompting.math_instruction,
        prompting.code_instruction,
        "<think>",
        "</think>",
        "\\boxed",
        "```python\n",
        "```",
    ]
    special = [PAD, EOS, USER, ASSISTANT]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    bpe.decoder = decoders.Fuse()
    ascii_characters = [chr(c) for c in range(32, 127)] + ["\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(fixed),
        special_tokens=special,
        initial_alphabet=ascii_characters,
        show_progress=False,
    )
    bpe.train_from_iterator([*_numbers(), *texts], trainer)
    bpe.add_tokens([AddedToken(text, normalized=False) for text in fixed])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write a directory that AutoTokenizer loads."""
    tokenizer.save_pretrained(directory)


def _numbers() -> list[str]:
    """Every number up to 99, often enough to become a token each."""
    return [str(n) for n in range(100) for _ in range(1000)]
