"""What an engine cannot be spread over is said before it is started."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acereason_trainer.config.common import ModelLoading
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.config.vllm import VLLM
from acereason_trainer.peers import Peers
from acereason_trainer.policy.loading import load_config, load_tokenizer
from acereason_trainer.rollout import making
from acereason_trainer.rollout.engine_client import environment
from acereason_trainer.rollout.making import make_sampler, require_fit
from acereason_trainer.stage import StageFailure
from transformers import Qwen2Config

from tests.stage_attempts import a_stage, attempt, begun, failure, write_rows
from tests.trainer.rollout.vllm_models import RL_SETTINGS
from tests.trainer.rollout.vllm_models import VLLM as SETTINGS


class OfANode(Peers):
    """So many ranks on one machine."""

    def __init__(self, ranks: int) -> None:
        self.world = self.local_world = ranks


@pytest.mark.parametrize(
    ("ranks", "size", "heads", "groups", "sentence"),
    [
        (8, 4, 28, 4, None),
        (8, 4, 28, 2, None),  # two workers hold the same group
        (8, 1, 7, 1, None),
        (8, 8, 28, 4, "28 attention heads in 4 groups"),
        (6, 3, 12, 4, "12 attention heads in 4 groups"),
        (6, 4, 28, 4, "a node has 6 ranks"),
        (1, 2, 28, 4, "a node has 1 rank,"),
    ],
)
def test_tensor_parallel_divides_the_ranks_and_the_heads(
    ranks: int, size: int, heads: int, groups: int, sentence: str | None
) -> None:
    config = Qwen2Config(num_attention_heads=heads, num_key_value_heads=groups)
    told = VLLM(tensor_parallel=size)
    if sentence is None:
        require_fit(told, config, OfANode(ranks))
        return
    with pytest.raises(StageFailure, match=sentence) as e:
        require_fit(told, config, OfANode(ranks))
    assert e.value.code == ExitCode.BAD_CONFIGURATION


def test_a_stage_with_a_size_that_does_not_fit_ends_with_a_sentence(
    tmp_path: Path, tiny_model: Path
) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"problem": "1 + 1?", "answer": "2"}])
    settings = {**RL_SETTINGS, "vllm": {**SETTINGS, "tensorParallel": 2}}
    stage = a_stage(tmp_path, {"mathRL": settings}, model=tiny_model, data=data)
    assert attempt(stage) == ExitCode.BAD_CONFIGURATION
    assert failure(stage)["message"] == (
        "vllm.tensorParallel is 2, but a node has 1 rank, which it does not divide"
    )


def test_an_engine_is_told_nothing_of_the_trainers_ranks() -> None:
    ours = {"RANK": "3", "MASTER_ADDR": "10.0.0.1", "PATH": "/bin", "VLLM_LOGGING_LEVEL": "INFO"}
    theirs = environment(ours, gpus=["4", "5"])
    assert "RANK" not in theirs
    assert "MASTER_ADDR" not in theirs
    assert theirs["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert theirs["VLLM_LOGGING_LEVEL"] == "INFO"  # the user's own
    assert "CUDA_VISIBLE_DEVICES" not in environment(ours, gpus=[])


@pytest.mark.slow
def test_an_engine_without_a_gpu_says_what_is_missing() -> None:
    """15 s: a process of its own imports vLLM, and is told that it finds nothing to run on."""
    program = (
        "import pathlib, vllm.platforms\n"
        "from vllm.platforms.interface import UnspecifiedPlatform\n"
        "vllm.platforms._current_platform = UnspecifiedPlatform()\n"
        "from acereason_trainer.rollout import vllm_engine\n"
        "vllm_engine.DRIVER = pathlib.Path('/nowhere')\n"
        "vllm_engine.Engine().start(None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "ValueError: no GPU is given to this process" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("gpus", "says"), [(["0"], True), ([], False)])
def test_a_slow_sampler_on_a_gpu_is_said_once(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    gpus: list[str],
    says: bool,
) -> None:
    monkeypatch.setattr(making, "gpus", lambda number, peers: gpus)
    data = write_rows(tmp_path / "rows.jsonl", [{"problem": "1 + 1?", "answer": "2"}])
    settings = {k: v for k, v in RL_SETTINGS.items() if k not in ("sampler", "vllm")}
    context = begun(a_stage(tmp_path, {"mathRL": settings}, model=tiny_model, data=data))
    make_sampler(context, MathRL.parse(settings), config=None, tokenizer=None, longest=8)
    said = [x for x in capsys.readouterr().err.splitlines() if "set sampler: vllm, unless" in x]
    assert len(said) == says


@pytest.mark.parametrize(("told", "limit"), [({}, 0.15), ({"probeLimit": 0.3}, 0.3)], ids=str)
def test_how_far_engines_may_be_from_the_trainer_is_the_stages_choice(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, float],
    limit: float,
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(making, "start_engine", lambda *told: None)
    monkeypatch.setattr(making, "VLLMSampler", lambda *told, **named: made.update(named))
    data = write_rows(tmp_path / "rows.jsonl", [{"problem": "1 + 1?", "answer": "2"}])
    settings = {**RL_SETTINGS, "vllm": {**SETTINGS, **told}, "loading": {"dtype": "bfloat16"}}
    context = begun(a_stage(tmp_path, {"mathRL": settings}, model=tiny_model, data=data))
    config = load_config(context.model_dir, ModelLoading(dtype="bfloat16"))
    make_sampler(context, MathRL.parse(settings), config, load_tokenizer(tiny_model), longest=8)
    assert made["limit"] == limit
