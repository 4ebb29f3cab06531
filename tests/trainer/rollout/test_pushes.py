"""What ends a stage at a push, and whether it ends for good.

With engines that load what is pushed into transformers' model (an_engine.py); those of vLLM are
held to the same in test_vllm_sampler.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy import identity as identity_module
from acereason_trainer.policy.identity import Identity
from acereason_trainer.policy.torch_policy import TorchPolicy
from acereason_trainer.rollout import engine_client
from acereason_trainer.rollout.engine_client import EngineClient
from acereason_trainer.rollout.protocol import SampleRequest, SamplingParams
from acereason_trainer.rollout.vllm_sampler import VLLMSampler
from acereason_trainer.stage import StageFailure, StopFlag
from torch import Tensor

from benchmarks.trainer_profile import require_time
from benchmarks.trainer_push import TIMED, watched
from tests.python_path import python_path
from tests.trainer.policy.batches import a_batch
from tests.trainer.rollout.a_sampler import a_sampler
from tests.trainer.rollout.test_engine_ends import SETTINGS

pytestmark = pytest.mark.slow
"""30 s of CPU: engines import torch and transformers."""
Start = Callable[[], EngineClient]


@pytest.fixture(scope="module")
def start(tiny_model: Path) -> Iterator[Start]:
    """Starts engines of the tiny model."""
    settings, stop = replace(SETTINGS, model=str(tiny_model)), StopFlag()
    started: list[EngineClient] = []

    def one_more() -> EngineClient:
        started.append(EngineClient(settings, rank=0, gpus=[], patience=300, check_stop=stop.check))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_client, "ENGINE", "tests.trainer.rollout.an_engine")
        patch.setenv("PYTHONPATH", python_path(Path(__file__).parents[3]))
        yield one_more
    for engine in started:
        engine.close()


@pytest.fixture(scope="module")
def engine(start: Start) -> EngineClient:
    """One that takes on what is pushed."""
    return start()


def a_policy(model: Path) -> TorchPolicy:
    return TorchPolicy(
        model,
        loading=ModelLoading(dtype="float32"),
        optimizer=Optimizer(learning_rate=0.1),
        total_steps=None,
        tokens_per_micro_batch=512,
    )


NOT_KNOWN = "There is no module or parameter named 'head' in Qwen2ForCausalLM"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("method", "error", "version", "code", "reason"),
    [
        ("take_bucket", NOT_KNOWN, 0, ExitCode.BAD_CONFIGURATION, "SamplerRefused"),
        ("end_push", NOT_KNOWN, 0, ExitCode.BAD_CONFIGURATION, "SamplerRefused"),
        ("take_bucket", NOT_KNOWN, 400, ExitCode.TEMPORARY, "SamplerDied"),
        ("take_bucket", FULL, 0, ExitCode.TEMPORARY, "SamplerDied"),
    ],
)
def test_weights_that_vllm_never_took_on_end_a_stage_for_good(
    start: Start,
    tiny_model: Path,
    tmp_path: Path,
    method: str,
    error: str,
    version: int,
    code: ExitCode,
    reason: str,
) -> None:
    engine = start()
    engine.call("fail_in", method, error)
    sampler = a_sampler(engine, tiny_model, tmp_path)
    with pytest.raises(StageFailure, match=f"RuntimeError: {error[:20]}") as failure:
        sampler.push(a_policy(tiny_model), version)
    assert (failure.value.code, failure.value.reason) == (code, reason)


def test_an_attempt_that_goes_on_is_tried_again_where_its_first_push_goes_wrong(
    engine: EngineClient, tiny_model: Path, tmp_path: Path
) -> None:
    """Trainer and engine have agreed on this model, before the attempt that resumes."""
    other = a_policy(tiny_model)
    other.step(a_batch())

    class Confused(TorchPolicy):
        weights = other.weights

    policy = a_policy(tiny_model)
    a_sampler(engine, tiny_model, tmp_path).push(policy, 0)
    policy.__class__ = Confused
    codes, told = [], []
    for version in (0, 400):
        with pytest.raises(StageFailure, match="nats from the trainer's") as failure:
            a_sampler(engine, tiny_model, tmp_path).push(policy, version)
        codes.append(failure.value.code)
        told.append(str(failure.value))
    assert codes == [ExitCode.BAD_CONFIGURATION, ExitCode.TEMPORARY]
    assert "or raise vllm.probeLimit" in told[0] and "vllm.probeLimit" not in told[1]
    a_sampler(engine, tiny_model, tmp_path, limit=10.0).push(policy, 0)


def test_a_push_reads_the_weights_once_and_names_what_is_drawn_by_them(
    engine: EngineClient, tiny_model: Path, tmp_path: Path
) -> None:
    """With ZeRO-3 a reading gathers all of them from all ranks."""
    readings = []

    class Read(TorchPolicy):
        def weights(self) -> Iterator[tuple[str, Tensor]]:
            readings.append(self)
            return super().weights()

    policy = a_policy(tiny_model)
    policy.__class__ = Read
    sampler = a_sampler(engine, tiny_model, tmp_path)
    sampler.push(policy, 0)
    assert len(readings) == 1
    one = [SampleRequest("p", (5, 6), 0, 1)]
    sampler.generate(one, SamplingParams(1.0, 1.0, 2), lambda _: None)
    identity = Identity()
    assert len([*identity.of_passing(policy.weights())]) > 1
    assert [f.name for f in tmp_path.iterdir()] == [f"responses-0-{identity.name}.jsonl"]


def test_the_benchmark_knows_the_methods_that_a_push_is_made_of(
    engine: EngineClient, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, method in (
        (identity_module, "sum_of"),
        (TorchPolicy, "logprobs"),
        (EngineClient, "call"),
        (VLLMSampler, "push"),
        (VLLMSampler, "_send_weights"),
    ):
        monkeypatch.setattr(owner, method, getattr(owner, method))  # as it is, afterwards
    begun = watched()
    policy, sampler = a_policy(tiny_model), a_sampler(engine, tiny_model, tmp_path)
    for _ in range(2):
        sampler.push(policy, 0)
        sampler.rest()
    before, after = begun
    assert not before.get("take_bucket"), "it was noted before the push"
    require_time(after, TIMED)
