"""Whether an answer is right: math by value, code by running it, or a function of the user's own.

    make_rewarder("math", verifier) -> Rewarder      submit(row, response) -> Future[Grade]

Extraction (extract.py) and exact comparison (math.py) happen at once in the caller's thread;
symbolic comparison and programs go to worker processes (pool.py, worker.py), programs on to a
sandbox in each (sandbox.py, sandboxed/). Where a verifier service is named (placement.py), they
go to its workers instead (remote.py).
"""

from acereason_trainer.rewards.protocol import Grade, Rewarder, Verdict
from acereason_trainer.rewards.rewarder import make_rewarder

__all__ = ["Grade", "Rewarder", "Verdict", "make_rewarder"]
