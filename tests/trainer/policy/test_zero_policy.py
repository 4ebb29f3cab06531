"""Two ranks with ZeRO do what one process does, and their states know nothing of ranks.

One pair of processes does all of it (ranks_at_work.py), once; each test looks at a part.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.policy.state_files import owners
from acereason_trainer.policy.torch_policy import TorchPolicy
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config

from tests.trainer.pairs import run_ranks
from tests.trainer.policy.batches import (
    FEW,
    OPTIMIZER,
    STEPS,
    a_batch,
    batches,
    many_small_gradients,
)

pytestmark = pytest.mark.slow
"""Costs about 40 s: two processes import torch and DeepSpeed and take some 400 small steps."""
HALF = STEPS // 2
STAGES = [1, 2, 3]


def one_process(model: Path, dtype: str = "float32") -> TorchPolicy:
    return TorchPolicy(
        model,
        loading=ModelLoading(dtype=dtype),
        optimizer=Optimizer(**OPTIMIZER),
        total_steps=STEPS,
        tokens_per_micro_batch=64,
    )


def trained(policy: TorchPolicy, first: int = 0, last: int = STEPS) -> list[dict[str, float]]:
    return [asdict(policy.step(batch)) for batch in batches()[first:last]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Directory of the model, of what one process left half-way, and of what two ranks did."""
    directory = tmp_path_factory.mktemp("ranks")
    shutil.copytree(tiny_model, directory / "model")
    save_large_model(directory / "large")
    (directory / "of-one").mkdir()
    policy = one_process(tiny_model)
    trained(policy, 0, HALF)
    policy.save_state(directory / "of-one")
    run_ranks("tests.trainer.policy.ranks_at_work", [str(directory)])
    run_ranks("tests.trainer.policy.one_rank_at_work", [str(directory)], world=1)
    return directory


def save_large_model(directory: Path) -> None:
    """64 layers of 2 MB in bfloat16: large beside what a process needs anyway."""
    model = AutoModelForCausalLM.from_config(
        Qwen2Config(
            vocab_size=98,
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=64,
            num_attention_heads=4,
            num_key_value_heads=4,
        ),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(directory)


@pytest.fixture(scope="module")
def found(work: Path) -> dict[str, Any]:
    """What two ranks did."""
    return json.loads((work / "found.json").read_text())


@pytest.fixture(scope="module")
def alone(tiny_model: Path) -> list[dict[str, float]]:
    """The same steps by one process."""
    return trained(one_process(tiny_model))


def same(these: list[dict[str, float]], those: list[dict[str, float]], rel: float) -> bool:
    """Whether all numbers of all updates agree."""
    pairs = zip(these, those, strict=True)
    return all(a == pytest.approx(b, rel=rel, abs=1e-7) for a, b in pairs)


@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_take_the_steps_of_one_process(
    found: dict[str, Any], alone: list[dict[str, float]], stage: int
) -> None:
    assert same(found[f"stage {stage}"]["straight"], alone, rel=1e-4)


def test_ranks_have_no_parameter_whole_between_two_steps_with_zero_3(
    found: dict[str, Any],
) -> None:
    """Or these tests would gather and release none: DeepSpeed leaves small ones whole."""
    assert found["stage 3"]["whole between steps"] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_sampler_between_steps_gets_the_weights_and_changes_nothing(
    found: dict[str, Any], tiny_model: Path, stage: int
) -> None:
    case, policy = found["sampled"][f"stage {stage}"], one_process(tiny_model)
    assert case["updates"] == found[f"stage {stage}"]["straight"][:FEW]
    trained(policy, 0, FEW - 1)
    scores = [s.tolist() for s in policy.logprobs(a_batch().sequences)]
    for theirs, ours in zip(case["scores"], scores, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)
    weights = {name: weight.sum().item() for name, weight in policy.weights()}
    assert case["weights"] == pytest.approx(weights, abs=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_beside_a_sampler_weights_in_float32_and_moments_are_gone(
    found: dict[str, Any], stage: int
) -> None:
    """And the gradients, with ZeRO-3."""
    assert found["sampled"][f"stage {stage}"]["freed"] > 0.95


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_pair_goes_on_bit_for_bit(work: Path, found: dict[str, Any], stage: int) -> None:
    case = found[f"stage {stage}"]
    assert case["resumed"] == case["straight"][HALF:]
    assert bits(work / f"resumed-{stage}") == bits(work / f"end-{stage}")


@pytest.mark.parametrize("stage", STAGES)
def test_from_one_process_to_two_ranks_and_back(
    work: Path, found: dict[str, Any], alone: list[dict[str, float]], tiny_model: Path, stage: int
) -> None:
    assert same(found[f"stage {stage}"]["one process, then two"], alone[HALF:], rel=1e-5)
    back = one_process(tiny_model)
    back.load_state(work / f"half-{stage}")
    assert same(trained(back, HALF), alone[HALF:], rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_exported_are_the_weights_of_the_state(
    work: Path, tiny_model: Path, stage: int
) -> None:
    exported = AutoModelForCausalLM.from_pretrained(work / f"export-{stage}")
    policy = one_process(tiny_model)
    policy.load_state(work / f"end-{stage}")
    weights = dict(exported.named_parameters())
    assert weights.keys() == dict(policy.model.named_parameters()).keys()
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_without_signal_is_a_step_with_no_gradient(
    found: dict[str, Any], stage: int
) -> None:
    update = found[f"stage {stage}"]["without signal"]
    assert (update["loss"], update["grad_norm"], update["tokens"]) == (0.0, 0.0, 0)


@pytest.mark.parametrize("stage", STAGES)
def test_one_rank_that_has_nothing_to_learn_goes_on(
    work: Path, tiny_model: Path, stage: int
) -> None:
    case = json.loads((work / "of-one-rank.json").read_text())[f"stage {stage}"]
    nothing, alone = case["without signal"], one_process(tiny_model)
    assert (nothing["loss"], nothing["grad_norm"], nothing["tokens"]) == (0.0, 0.0, 0)
    alone.step(replace(a_batch(), sequences=[], prompt_lengths=[], token_weights=[]))
    assert case["then"] == pytest.approx(asdict(alone.step(a_batch())), rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_gradient_that_is_no_number_changes_nothing(
    found: dict[str, Any], tiny_model: Path, stage: int
) -> None:
    case = found[f"stage {stage}"]["not a number"]
    assert not case["norm is finite"]
    good = asdict(one_process(tiny_model).step(a_batch()))
    assert case["then"] == pytest.approx(good, rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "stage"),
    [*(("in bfloat16", stage) for stage in STAGES), ("as 14B runs", 2), ("as 14B runs", 3)],
)
def test_a_gradient_that_is_no_number_changes_nothing_in_bfloat16(
    found: dict[str, Any], tiny_model: Path, setting: str, stage: int
) -> None:
    case = found[f"not a number {setting}"][f"stage {stage}"]
    assert not case["norm is finite"]
    good = asdict(one_process(tiny_model, "bfloat16").step(a_batch()))
    assert case["then"] == pytest.approx(good, rel=0.02, abs=0.02)


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_many_micro_batches_are_summed_in_float32(
    found: dict[str, Any], tiny_model: Path, stage: int
) -> None:
    """On each rank, before it gives up the parts that are others'."""
    whole = many_small_gradients(one_process(tiny_model, "float32"))
    assert found["many small gradients"][f"stage {stage}"] == pytest.approx(whole, rel=0.03)


@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_recomputed_and_offloaded_in_bfloat16_changes_little_of_a_step(
    found: dict[str, Any], stage: int
) -> None:
    """What 14B needs, all at once."""
    few = found["bfloat16"][f"stage {stage}"]
    for theirs, ours in zip(few, found["as 14B runs"][f"stage {stage}"], strict=True):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.02)


@pytest.mark.parametrize("stage", [2, 3])
def test_an_offloaded_optimizer_gives_room_beside_it_and_changes_no_bit_of_a_step(
    found: dict[str, Any], stage: int
) -> None:
    sampled = found["sampled as 14B runs"][f"stage {stage}"]
    assert sampled["updates"] == found["as 14B runs"][f"stage {stage}"]


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_steps_are_those_of_one_process_up_to_its_rounding(
    found: dict[str, Any], tiny_model: Path, stage: int
) -> None:
    alone = trained(one_process(tiny_model, "bfloat16"), 0, FEW)
    for theirs, ours in zip(alone, found["bfloat16"][f"stage {stage}"], strict=True):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.02)


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_has_float32_master_weights(work: Path, stage: int) -> None:
    state = tensors(work / f"bfloat16-{stage}")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    weights = torch.cat([t.flatten() for name, t in state.items() if name.endswith("/weight")])
    assert (weights != weights.bfloat16().float()).float().mean() > 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_that_gives_room_and_takes_it_again_has_the_same_bits(
    work: Path, found: dict[str, Any], stage: int
) -> None:
    """Master weights, moments and updates, with a sampler's turn between all steps and without."""
    case = found["sampled in bfloat16"][f"stage {stage}"]
    assert case["freed"] > 0.95
    assert case["updates"] == found["bfloat16"][f"stage {stage}"]
    assert bits(work / f"sampled-bfloat16-{stage}") == bits(work / f"bfloat16-{stage}")


@pytest.mark.parametrize("option", ["offload", "checkpointing"])
@pytest.mark.parametrize("stage", [2, 3])
def test_where_the_optimizer_is_and_what_is_recomputed_change_nothing(
    found: dict[str, Any], option: str, stage: int
) -> None:
    assert same(
        found[option][f"stage {stage}"], found[f"stage {stage}"]["straight"][:FEW], rel=1e-5
    )


@pytest.mark.parametrize("option", ["padded", "chunks"])
@pytest.mark.parametrize("stage", [2, 3])
def test_how_sequences_lie_and_how_many_logits_there_are_change_nothing(
    found: dict[str, Any], option: str, stage: int
) -> None:
    assert same(
        found[option][f"stage {stage}"], found[f"stage {stage}"]["straight"][:FEW], rel=1e-4
    )


def test_ranks_share_a_model_without_a_copy_for_each(found: dict[str, Any]) -> None:
    for rank in found["copied"]:
        assert rank["loaded"] < 0.1, "a map of the files"
        assert rank["spread"] < 0.7, "a half, and what gathering leaves"


def test_a_state_is_shared_out_to_be_written(work: Path) -> None:
    for stage in STAGES:
        files = sorted(p.name for p in (work / f"half-{stage}").glob("policy-*"))
        assert files == ["policy-0-0.safetensors", "policy-1-0.safetensors"]
    assert owners([4, 4, 4, 4], 2) == [0, 0, 1, 1]
    assert owners([100, 1, 1], 2)[1:] == [1, 1]


def test_ranks_end_alike_and_hear_the_same(found: dict[str, Any]) -> None:
    first, second = found["ends"]
    failed = [int(ExitCode.CORRUPT_INPUT), "Damaged", "a file is damaged"]
    assert first == second
    assert first == {
        "both well": [1, 2],
        "one is stopped": "stopped",
        "one fails": failed,
        "one fails, one is stopped": failed,
        "the leader fails": failed,
        "what the leader says": 0,
        "what the leader reads": ["a", "b", "c"],
    }


def bits(directory: Path) -> dict[str, bytes]:
    """Every tensor of a state, byte by byte."""
    return {name: tensor.numpy().tobytes() for name, tensor in tensors(directory).items()}


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a state."""
    found: dict[str, torch.Tensor] = {}
    for path in directory.glob("policy-*.safetensors"):
        found |= load_file(path)
    return found
