"""Two processes that meet as the ranks of one attempt."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from acereason_trainer.launch.free_port import free_port

ROOT = Path(__file__).parents[2]


def run_ranks(module: str, arguments: Sequence[str], world: int = 2) -> None:
    """`python -m module arguments` as each of so many ranks; all must end well."""
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
        )
        for rank in range(world)
    ]
    assert [rank.wait() for rank in ranks] == [0] * world, "the captured output says why"
