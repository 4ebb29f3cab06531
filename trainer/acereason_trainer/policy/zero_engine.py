"""What DeepSpeed is told, and what it asks of a process, before a policy is made with it."""

import gc
import os
import warnings
from typing import Any

import deepspeed
import torch
from deepspeed import zero
from torch import distributed

from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.policy.loading import DTYPES
from acereason_trainer.policy.memory_plan import BUCKET, GATHERED, STEPPED_AT_ONCE


def engine_settings(
    settings: Zero, loading: ModelLoading, grad_clip: float, device: torch.device
) -> dict[str, Any]:
    """What DeepSpeed is told."""
    # DeepSpeed's own limits, said: the plan of a stage's memory counts with them.
    stage: dict[str, Any] = {"stage": settings.stage, "reduce_bucket_size": BUCKET}
    if settings.stage == 3:
        stage |= {
            "stage3_max_live_parameters": GATHERED,  # that it fetches ahead
            "stage3_max_reuse_distance": GATHERED,  # that it keeps for the next module's use
            "sub_group_size": STEPPED_AT_ONCE,
        }
    if settings.offload_optimizer:
        stage["offload_optimizer"] = {"device": "cpu", "pin_memory": device.type == "cuda"}
    return {
        "zero_optimization": stage,
        "bf16": {"enabled": DTYPES[loading.dtype] is torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "gradient_clipping": grad_clip,
        # The boundaries of a step are set by hand, since steps differ in micro-batches. With 1,
        # ZeRO-2 would take the gradient's norm with offload of the last micro-batch alone.
        "gradient_accumulation_steps": 2,
        "train_micro_batch_size_per_gpu": 1,
        "zero_force_ds_cpu_optimizer": False,  # its own AdamW is compiled where it runs
    }


def spread(module: torch.nn.Module, settings: dict[str, Any], device: torch.device) -> None:
    """Leave each rank its share of every parameter, one after the other.

    What was loaded is a map of the model's files, of which all ranks of a machine have one copy; so
    neither a GPU nor, in the end, the host holds a model for each rank. Buffers stay whole.
    """
    zero.Init(module=module, config_dict_or_path=settings)
    # The first rank's parameters are written over the map of the others where they are on a CPU: a
    # model in each, and what DeepSpeed made here refers to itself and to them.
    gc.collect()
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)


def prepare_process() -> None:
    """What DeepSpeed asks of a process; alone, a group of one."""
    # One per collective, about names that it calls: a log would hold little else.
    warnings.filterwarnings("ignore", ".* is deprecated. Please use", FutureWarning)
    deepspeed.utils.logger.setLevel("WARNING")
    # It would compile collectives over shared memory at the start, wherever there is a compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for name, alone in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        os.environ.setdefault(name, alone)
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    deepspeed.init_distributed(verbose=False)
