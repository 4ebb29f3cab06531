"""What a stage's log says of memory before a model is loaded: its settings, held against the GPU
and the host."""

from typing import Any

import torch

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.host_memory import available
from acereason_trainer.policy.loading import DTYPES, device, load_config
from acereason_trainer.policy.memory_check import (
    shape_of,
    what_does_not_fit,
    what_engines_leave_no_room_for,
    what_the_host_lacks,
)
from acereason_trainer.policy.memory_plan import ENGINE_ASLEEP, plan
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say


def say_what_does_not_fit(
    context: StageContext, settings: SFT | RL, zero: Zero | None, *, recompute: bool
) -> None:
    """Log a sentence for each kind of memory that a stage is planned to have too little of.

    zero, recompute: as the policy is made with, where the settings leave them open.
    """
    config = load_config(context.model_dir, settings.loading).get_text_config()
    shape = shape_of(config)
    if shape is None:
        return
    gpu = torch.cuda.get_device_properties(device()).total_memory
    told: dict[str, Any] = {
        "ranks": context.peers.world,
        "zero": zero,
        "number": DTYPES[settings.loading.dtype].itemsize,
    }
    of_a_step = {**told, "tokens": settings.tokens_per_micro_batch, "recompute": recompute}
    longest, engines = _longest(settings), _engines(settings)
    ranks_per_node = context.peers.local_world
    asleep = ENGINE_ASLEEP if engines else 0
    if isinstance(settings, RL) and engines is None and zero is not None and zero.stage == 3:
        asleep = told["number"] * shape.parameters  # the transformers sampler's own model
    memory = plan(
        shape,
        **of_a_step,
        ranks_per_node=ranks_per_node,
        drawn=_drawn(settings) if engines else 0,
    )
    sentences = [
        what_does_not_fit(
            shape,
            **of_a_step,
            gpu=gpu,
            longest=longest,
            sampler=asleep,
        ),
        what_engines_leave_no_room_for(
            shape,
            memory,
            gpu=gpu,
            vllm=engines,
            longest=longest,
            ranks_per_node=ranks_per_node,
            **told,
        )
        if engines
        else None,
        what_the_host_lacks(memory, host=available()),
    ]
    for sentence in sentences:
        if sentence:
            say(sentence)


def _engines(settings: SFT | RL) -> VLLM | None:
    """Settings of engines that draw on the same GPUs; None where there are none."""
    if isinstance(settings, RL) and settings.sampler == "vllm":
        return settings.vllm or VLLM()
    return None


def _drawn(settings: SFT | RL) -> int:
    """Tokens of the responses of a step, each half as long as it may be."""
    assert isinstance(settings, RL)
    group = max(settings.group_size.per_epoch or [settings.group_size.fixed or 0])
    return settings.prompts_per_step * group * settings.max_response_tokens // 2


def _longest(settings: SFT | RL) -> int:
    """Tokens that one sequence may have."""
    if isinstance(settings, SFT):
        return settings.row_tokens
    return settings.max_prompt_tokens + settings.max_response_tokens
