"""A finished run with every kind of stage, published for real into a store of its own."""

import json
from pathlib import Path

import pytest
from made_up_run import MadeUpRun, curves, results

SAMPLE = {
    "set": "math", "id": "p1", "problem": "What is <b>2</b> + 2?",
    "prompt": "<|user|>What is <b>2</b> + 2?<|assistant|>", "answer": "4", "tests": 0,
    "response": "<think>\n2 and 2\n</think>\n\\boxed{4}", "verdict": "correct", "detail": "4",
    "tokens": 12, "truncated": False,
}  # fmt: skip

FUNNEL = {
    "in": 1200, "out": 900, "passCounts": None,
    "steps": [{"name": "rules", "in": 1200, "dropped": {"proofs": 300}, "added": 0, "out": 900,
               "examples": {"proofs": {"id": "x", "origin": "a.jsonl line 3",
                                       "problem": "Prove it."}}}],
}  # fmt: skip


@pytest.fixture
def finished_run(tmp_path: Path) -> MadeUpRun:
    """curate -> sft -> evaluate -> math RL -> evaluate, all complete."""
    run = MadeUpRun(tmp_path / "store")
    data = run.add(
        "prompts", "curate", {"data.jsonl": "{}", "report.json": json.dumps(FUNNEL)},
        records=["report.json"],
    )  # fmt: skip
    sft = run.add(
        "sft", "sft",
        {"w": "sft", "metrics.jsonl": curves(tmp_path / "a", 30, {"loss": 1.0})},
        records=["metrics.jsonl"], data=data,
    )  # fmt: skip
    run.add("eval-sft", "evaluate", {"results.json": results({"p1": 1, "p2": 1})}, model=sft)
    rl_curves = curves(
        tmp_path / "b", 40,
        {"reward": 0.01, "entropy": 0.3, "response_tokens": 2.0, "truncated_share": 0.001,
         "no_signal_share": 0.01, "generated_tokens_per_second": 100.0},
    )  # fmt: skip
    rl = run.add(
        "math-8k", "mathRL", {"w": "rl", "metrics.jsonl": rl_curves},
        records=["metrics.jsonl"], model=sft, data=data,
    )  # fmt: skip
    run.add(
        "eval-rl", "evaluate",
        {"results.json": results({"p1": 4, "p2": 2}), "samples.jsonl": json.dumps(SAMPLE) + "\n"},
        records=["samples.jsonl"], model=rl,
    )  # fmt: skip
    run.write_status(startedAt="2026-01-01T10:00:00Z", finishedAt="2026-01-01T10:20:00Z")
    return run
