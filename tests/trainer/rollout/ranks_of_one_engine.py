"""What two ranks with one engine do for test_ranks_of_one_engine.py.

    python -m tests.trainer.rollout.ranks_of_one_engine DIR

Their engine is that of the first rank and would use both GPUs (an_engine.py). Each writes what it
saw to DIR/rank-<r>.json.
"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from acereason_trainer.config.common import ModelLoading, Zero
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.peers import Peers
from acereason_trainer.policy.zero_policy import ZeroPolicy
from acereason_trainer.process_group import meet
from acereason_trainer.rollout import engine_client
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.protocol import Completion, SampleRequest, SamplingParams
from acereason_trainer.rollout.vllm_sampler import VLLMSampler
from acereason_trainer.stage import StageFailure

from tests.trainer.policy.batches import OPTIMIZER, a_batch
from tests.trainer.rollout.a_sampler import a_sampler
from tests.trainer.rollout.test_engine_ends import SETTINGS

REQUESTS = [SampleRequest("p", (5, 6), sample, sample) for sample in range(5)]


def main() -> None:
    torch.set_num_threads(1)
    engine_client.ENGINE = "tests.trainer.rollout.an_engine"
    directory = Path(sys.argv[1])
    with meet(os.environ) as peers:
        engine = started(directory / "model") if peers.leads else None
        sampler = a_sampler(engine, directory / "model", directory / "journal", peers)
        found = seen(engine, sampler, a_policy(directory / "model", peers))
        (directory / f"rank-{peers.rank}.json").write_text(json.dumps(found))
        sampler.close()


def started(model: Path) -> EngineClient:
    settings = replace(SETTINGS, model=str(model), tensor_parallel=2)
    return EngineClient(settings, rank=0, gpus=[], patience=300, check_stop=lambda: None)


def a_policy(model: Path, peers: Peers) -> ZeroPolicy:
    return ZeroPolicy(
        model,
        settings=Zero(stage=3),
        peers=peers,
        loading=ModelLoading(dtype="float32"),
        optimizer=Optimizer(**OPTIMIZER),
        total_steps=None,
        tokens_per_micro_batch=64,
        activation_checkpointing=False,
    )


def seen(engine: EngineClient | None, sampler: VLLMSampler, policy: ZeroPolicy) -> dict[str, Any]:
    """Two turns of sampler and trainer, and a third one whose engine fails."""
    heard: list[Completion] = []
    differences, updates = [], []
    for version in range(2):
        sampler.push(policy, version)
        differences.append(sampler.probe_difference)
        sampler.generate(REQUESTS, SamplingParams(1.0, 1.0, 2), heard.extend)
        sampler.rest()
        updates.append(asdict(policy.step(a_batch(seed=version))))
    if engine is not None:
        engine.call("fail_in", "take_bucket", "as a GPU may")
    try:
        sampler.push(policy, 2)
        end = None
    except StageFailure as e:
        end = [int(e.code), e.reason, e.message]
    return {
        "draws": sampler.draws,
        "heard": sorted(c.request.sample for c in heard),
        "differences": differences,
        "updates": updates,
        "end": end,
    }


if __name__ == "__main__":
    main()
