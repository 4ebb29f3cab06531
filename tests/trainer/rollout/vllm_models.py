"""Tiny models that vLLM can run on a CPU (it wants heads of at least 32), and samplers of them."""

import json
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.config.rl import RL
from acereason_trainer.policy.loading import load_config, load_tokenizer
from acereason_trainer.processes import children
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.making import make_sampler
from acereason_trainer.rollout.vllm_sampler import VLLMSampler
from acereason_trainer.stage import StopFlag
from transformers import AutoModelForCausalLM, Qwen2Config

from tests.stage_attempts import a_stage, begun

LONGEST = 160
VLLM = {"maxSequences": 16, "cacheGib": 0.05, "patienceSeconds": 900}
RL_SETTINGS: dict[str, Any] = {
    "optimizer": {"learningRate": 3e-3},
    "promptsPerStep": 3,
    "groupSize": {"fixed": 4},
    "maxResponseTokens": 24,
    "temperature": {"fixed": 1.0},
    "stop": {"steps": 6},
    "tokensPerMicroBatch": 512,
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "verifier": {"workers": 1},
    "saving": {"minutesAtRisk": 0},
    "sampler": "vllm",
    "vllm": VLLM,
}


def a_model(directory: Path, tokenizer: Path, *, tied: bool, heads: int = 2) -> Path:
    """Directory of a 2-layer Qwen2 with random weights and this tokenizer."""
    tokens = load_tokenizer(tokenizer)
    tokens.save_pretrained(directory)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(
        Qwen2Config(
            vocab_size=len(tokens),
            hidden_size=32 * heads,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=heads,
            num_key_value_heads=1,
            max_position_embeddings=LONGEST,
            initializer_range=0.2,
            tie_word_embeddings=tied,
            eos_token_id=1,
            pad_token_id=0,
            bos_token_id=None,
        )
    ).save_pretrained(directory)
    return directory


def a_vllm_sampler(
    store: Path, model: Path, stop: StopFlag, *, longest: int = LONGEST, **settings: Any
) -> VLLMSampler:
    """As an RL stage makes it; starts an engine."""
    told = {**RL_SETTINGS, **settings}
    context = begun(a_stage(store, {"mathRL": told}, model=model), stop)
    stage = context.file.settings.settings
    assert isinstance(stage, RL)
    sampler = make_sampler(
        context,
        stage,
        load_config(context.model_dir, stage.loading),
        load_tokenizer(context.model_dir),
        longest,
        Journal(context.work_dir / "journal"),
    )
    assert isinstance(sampler, VLLMSampler)
    return sampler


def wrote(work_dir: Path, rank: int = 0) -> list[Any]:
    """What a rank has written into an attempt's journal, in order."""
    files = sorted((work_dir / "journal").glob(f"responses-{rank}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def engines() -> list[int]:
    """Processes of engines that this one has started."""
    return [c for c in children() if b"vllm_engine" in Path(f"/proc/{c}/cmdline").read_bytes()]
