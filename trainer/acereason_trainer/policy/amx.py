"""bfloat16 on CPUs whose matrix tiles (AMX) may not work.

Such a processor kills a process with an illegal instruction when the kernel was not asked for the
tile state, and inside some virtual machines even when it was. So a forked child tries it first.
"""

import faulthandler
import os

import torch


def make_bfloat16_safe() -> None:
    """Use AMX where it works, and oneDNN's kernels without it where it does not.

    Must run before the process's first tensor operation: oneDNN reads its environment once.
    """
    if not torch.cpu._is_amx_tile_supported():
        return
    if _survives_in_a_child():
        torch.cpu._init_amx()
    else:
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")


def _survives_in_a_child() -> bool:
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # dying here is an answer, not a crash to report
        torch.set_num_threads(1)  # a forked child has none of its parent's threads
        torch.cpu._init_amx()
        square = torch.ones(64, 64, dtype=torch.bfloat16)
        torch.nn.functional.linear(square, square)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return status == 0
