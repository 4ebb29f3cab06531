"""What a stage's log says of memory before a model is loaded: its settings, held against the GPU
and the host."""

import torch

from acereason_trainer.config.common import Zero
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.host_memory import available
from acereason_trainer.policy.loading import DTYPES, device, load_config
from acereason_trainer.policy.memory_check import shape_of, what_a_stage_lacks
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say


def say_what_does_not_fit(
    context: StageContext, settings: SFT | RL, zero: Zero | None, *, recompute: bool
) -> None:
    """Log a sentence for each kind of memory that a stage is planned to have too little of.

    zero, recompute: as the policy is made with, where the settings leave them open.
    """
    shape = shape_of(load_config(context.model_dir, settings.loading).get_text_config())
    if shape is None:
        return
    for sentence in what_a_stage_lacks(
        shape,
        settings,
        zero=zero,
        recompute=recompute,
        number=DTYPES[settings.loading.dtype].itemsize,
        ranks=context.peers.world,
        ranks_per_node=context.peers.local_world,
        gpu=torch.cuda.get_device_properties(device()).total_memory,
        host=available(),
    ):
        say(sentence)
