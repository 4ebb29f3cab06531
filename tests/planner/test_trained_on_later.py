"""Whoever trains on what a stage above holds out is told so, before anything runs."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.cli import validate
from acereason_operator.planner.trained_on_later import trained_on_later

DATA = {"name": "prompts", "curate": {}, "inputs": {"data": {"path": "math.jsonl"}}}


def a_spec(*stages: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": {"path": "base"},
        "storage": {"directory": "store"},
        "stages": [{**DATA, "needs": []}, *stages],
    }


def rl(name: str, share: float | None = None, kind: str = "mathRL", **told: Any) -> dict[str, Any]:
    validation = {} if share is None else {"validation": {"heldOutShare": share}}
    return {"name": name, kind: validation, "inputs": {"data": {"stage": "prompts"}}, **told}


HARD = {
    "name": "hard",
    "curate": {"passRate": {}, "decontamination": None},
    "inputs": {"data": {"stage": "prompts"}},
}
OTHER: dict[str, Any] = {"inputs": {"data": {"path": "others.jsonl"}}}
CASES: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("the same share", [rl("a", 0.1), rl("b", 0.1)], []),
    ("a larger one", [rl("a", 0.1), rl("b", 0.2)], []),
    ("a smaller one", [rl("a", 0.2), rl("b", 0.1)], ["b"]),
    ("none", [rl("a", 0.1), rl("b")], ["b"]),
    ("none, on filtered ones", [rl("a", 0.1), HARD, rl("b", inputs={"data": {"stage": "hard"}})],
     ["b"]),
    ("none, on other problems", [rl("a", 0.1), rl("b", **OTHER)], []),
    ("none, of another domain", [rl("a", 0.1), rl("b", kind="codeRL")], []),
    ("none, beside it", [rl("a", 0.1), rl("b", needs=["prompts"])], []),
    ("none, before it", [rl("a"), rl("b", 0.1)], []),
]  # fmt: skip


@pytest.mark.parametrize(("why", "stages", "told"), CASES, ids=[why for why, _, _ in CASES])
def test_who_holds_out_less_than_a_stage_above_is_named(
    why: str, stages: list[dict[str, Any]], told: list[str]
) -> None:
    notes = trained_on_later(AceReasonRunSpec.parse(a_spec(*stages)))
    assert [note.split()[1] for note in notes] == told
    assert all("that a holds out" in note for note in notes)


def test_validate_says_it_and_the_file_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    head = {"apiVersion": "acereason.dev/v1alpha1", "kind": "AceReasonRun"}
    run = {**head, "metadata": {"name": "r"}, "spec": a_spec(rl("a", 0.1), rl("b"))}
    file.write_text(yaml.safe_dump(run))
    told = argparse.Namespace(files=[file], local=False, output="text")
    assert validate.run(told) == validate.OK
    said = capsys.readouterr()
    assert f"{file}: note: stage b trains on problems that a holds out" in said.err
    assert "is valid" in said.out
