"""The papers' recipes are accepted as they stand, and hold the papers' numbers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acereason_operator.api.load import load_run
from acereason_operator.api.quantities import amount
from acereason_operator.api.run import AceReasonRun
from acereason_operator.cli.validate import validate_files
from acereason_operator.planner import effective
from acereason_operator.planner.context import Context
from acereason_trainer.config.rl import RL
from acereason_trainer.config.sft import SFT
from acereason_trainer.policy.loading import DTYPES
from acereason_trainer.policy.making import resolved
from acereason_trainer.policy.memory_check import what_a_stage_lacks
from acereason_trainer.policy.memory_plan import QWEN_7B, QWEN_14B

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = ("acereason-1.0-7b", "acereason-1.0-14b", "acereason-1.1-7b")
EACH = pytest.mark.parametrize("recipe", RECIPES)
LENGTHS = {
    "math-8k": 8192,
    "math-16k": 16384,
    "math-24k": 24576,
    "code-24k": 24000,
    "code-32k": 32768,
    "math-32k": 32768,
}
"""In the papers' order: math, code, and math again (1.0 sections 3.2 to 3.4)."""


def the_run(recipe: str) -> AceReasonRun:
    run = load_run(EXAMPLES / f"{recipe}.yaml", [], []).run
    assert run is not None
    return run


def rl_stages(recipe: str) -> dict[str, RL]:
    stages = the_run(recipe).spec.stages
    return {s.name: s.settings for s in stages if isinstance(s.settings, RL)}


@EACH
def test_a_recipe_is_valid(recipe: str) -> None:
    assert validate_files([EXAMPLES / f"{recipe}.yaml"]) == []


@EACH
def test_a_recipe_has_the_papers_schedule(recipe: str) -> None:
    stages = rl_stages(recipe)
    assert [(n, s.max_response_tokens) for n, s in stages.items()] == list(LENGTHS.items())
    for name, stage in stages.items():
        code = name.startswith("code")
        assert stage.prompts_per_step == 128
        assert stage.optimizer.learning_rate == (5e-6 if code else 1e-6)
        if name == "code-32k":
            assert stage.group_size.per_epoch == [8, 12, 16]
            assert stage.temperature.per_epoch == [0.6, 0.8, 1.0]
        else:
            assert stage.group_size.fixed == (8 if name in ("math-8k", "code-24k") else 16)
            assert stage.temperature.fixed == (0.6 if code else 0.85)
        assert (stage.drop_solved == "perEpoch") is (name == "code-32k")
        masks = recipe == "acereason-1.1-7b" and stage.max_response_tokens < 32768
        assert stage.overlong.mode == ("mask" if masks else "penalize")
    hardest = {n: s.where[0].max for n, s in stages.items() if s.where}
    assert hardest == {"code-24k": 7 if recipe.endswith("14b") else 5}


@EACH
def test_a_recipe_is_made_for_gpus_and_watched(recipe: str) -> None:
    """One share is held out everywhere: no stage trains on what another validates on."""
    for stage in rl_stages(recipe).values():
        assert stage.sampler == "vllm"
        assert stage.zero is not None
        assert stage.health is not None and stage.health.entropy is not None
        assert stage.validation is not None and stage.validation.held_out_share == 0.05


@pytest.mark.parametrize("file", [*RECIPES, "cluster"])
def test_what_is_trained_fits_the_gpus_and_the_memory_that_are_asked_for(file: str) -> None:
    spec = the_run(file).spec
    shape = QWEN_14B if "14b" in file else QWEN_7B
    context = Context(store="", resolve=str)
    checked = 0
    for stage in spec.stages:
        if not isinstance(stage.settings, SFT | RL):
            continue
        ranks, resources = effective.ranks(spec, stage, context), spec.defaults.resources
        assert resources is not None and stage.resources is None
        world = ranks * effective.nodes(spec, stage, context)
        zero, recompute = resolved(stage.settings, world)
        lacking = what_a_stage_lacks(
            shape,
            stage.settings,
            zero=zero,
            recompute=recompute,
            number=DTYPES[stage.settings.loading.dtype].itemsize,
            ranks=world,
            ranks_per_node=ranks,
            gpu=80_000_000_000,
            host=int(amount(resources.limits["memory"])),
        )
        assert lacking == [], stage.name
        checked += 1
    assert checked == len(rl_stages(file)) + (file in ("acereason-1.1-7b", "cluster"))


@EACH
def test_a_recipe_can_be_planned(recipe: str, tmp_path: Path) -> None:
    """With sources of one row: what reads only those has a key, the rest waits for it."""
    file = shutil.copy(EXAMPLES / f"{recipe}.yaml", tmp_path)
    sources = tmp_path / "sources"
    for name in ("DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1-Distill-Qwen-14B", "Qwen2.5-Math-7B"):
        (sources / name).mkdir(parents=True)
    (sources / "exams").mkdir()
    for name in ("math.jsonl", "code.jsonl", "sft.jsonl", "exams/aime24.jsonl"):
        (sources / name).write_text('{"problem": "1 + 1?", "answer": "2"}\n')
    command = [sys.executable, "-m", "acereason_operator.cli.main", "plan", file]
    told = [*command, "--store", str(tmp_path / "store"), "-o", "json"]
    ended = subprocess.run(told, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    stages: list[dict[str, Any]] = json.loads(ended.stdout)
    assert {s["verdict"] for s in stages} == {"run"}
    known = [s["stage"] for s in stages if s["key"]]
    curated = ["math-prompts", "code-prompts", *(["sft-data"] if "1.1" in recipe else [])]
    assert known == curated
    assert list(LENGTHS) == [s["stage"] for s in stages if s["kind"].endswith("RL")]
