"""What one rank does for test_zero_policy.py, as two do in ranks_at_work.py.

A process of its own: DeepSpeed keeps what it is told about ranks.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.peers import ALONE
from acereason_trainer.policy.amx import make_bfloat16_safe

from tests.trainer.policy.batches import a_batch
from tests.trainer.policy.ranks_at_work import Desk, without_signal


def main() -> None:
    make_bfloat16_safe()
    torch.set_num_threads(1)
    desk = Desk(Path(sys.argv[1]), ALONE)
    found = {f"stage {stage}": of_stage(desk, stage) for stage in (1, 2, 3)}
    (desk.directory / "of-one-rank.json").write_text(json.dumps(found))


def of_stage(desk: Desk, stage: int) -> dict[str, Any]:
    """A step without signal, and a good step after it."""
    policy = desk.policy(stage)
    return {
        "without signal": asdict(without_signal(policy)),
        "then": asdict(policy.step(a_batch())),
    }


if __name__ == "__main__":
    main()
