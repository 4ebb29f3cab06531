"""Tiny models that vLLM can run on a CPU (it wants heads of at least 32), and samplers of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.rl import RL
from acereason_trainer.peers import ALONE
from acereason_trainer.policy.loading import load_config, load_tokenizer
from acereason_trainer.processes import children
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.engine_messages import EngineSettings
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.making import GIB, make_sampler, overrides
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.vllm_sampler import AGREE, VLLMSampler
from acereason_trainer.stage import StopFlag
from transformers import AutoModelForCausalLM, Qwen2Config

from tests.stage_attempts import a_stage, begun

LONGEST = 160
VLLM: dict[str, Any] = {"maxSequences": 16, "cacheGib": 0.05, "patienceSeconds": 900}
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


def a_sampler_of_two_workers(directory: Path, journal: Path, stop: StopFlag) -> VLLMSampler:
    """One engine that is spread over two processes, in float32."""
    config = load_config(directory, ModelLoading(dtype="float32"))
    settings = EngineSettings(
        model=str(directory),
        overrides=overrides(config, LONGEST),
        dtype="float32",
        tokens=LONGEST,
        stop_tokens=(1,),
        sequences=VLLM["maxSequences"],
        tensor_parallel=2,
        memory_share=0.5,
        cache_bytes=int(VLLM["cacheGib"] * GIB),
    )
    with pytest.MonkeyPatch.context() as patch:
        # It would give each worker a NUMA node of its own, and there is one.
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        engine = EngineClient(
            settings, rank=0, gpus=[], patience=VLLM["patienceSeconds"], check_stop=stop.check
        )
    return VLLMSampler(
        engine,
        load_tokenizer(directory),
        engines=1,
        number=0,
        sequences=VLLM["maxSequences"],
        longest=LONGEST,
        limit=AGREE["float32"],
        vocabulary=config.vocab_size,
        journal=ResponseJournal(Journal(journal), 0),
        peers=ALONE,
    )


def remove_what_workers_shared() -> None:
    """8 MB for each engine of several workers on CPUs, which are killed and leave it."""
    for left in Path("/dev/shm").glob("vllm_dist_*-cpushm_*"):
        left.unlink(missing_ok=True)


def wrote(work_dir: Path, rank: int = 0) -> list[Any]:
    """What a rank has written into an attempt's journal, in order."""
    files = sorted((work_dir / "journal").glob(f"responses-{rank}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def engines() -> list[int]:
    """Processes of engines that this one has started."""
    return [c for c in children() if b"vllm_engine" in Path(f"/proc/{c}/cmdline").read_bytes()]
