"""A byte that flips in the store: read twice, then made again by the stage that made it."""

import json
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from laptops import DATA, SFT, Laptop, told

MORE = {**SFT, "name": "more", "needs": ["sft"]}


def flip_a_byte_of(laptop: Laptop, stage: str) -> Path:
    """Damage a stage's artifact so that only hashing shows it; the file that is damaged."""
    artifact = laptop.stage(stage).artifact
    assert artifact is not None
    (file,) = (laptop.store / artifact.uri).glob("rows.jsonl")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    return file


def prepare_code(laptop: Laptop, stage: str, attempt: int) -> int:
    path = laptop.attempt(stage, attempt) / "prepare.json"
    return int(json.loads(path.read_text())["exitCode"])


def assert_healed(laptop: Laptop, reader: str) -> None:
    """`reader` read the damaged data twice, `data` made it again, `reader` went on with that."""
    codes = [prepare_code(laptop, reader, attempt) for attempt in (1, 2, 3)]
    assert codes == [ExitCode.CORRUPT_INPUT, ExitCode.CORRUPT_INPUT, ExitCode.DONE]
    assert (laptop.attempt("data", 2) / "rank-0.log").exists(), "made, not found"
    shown = laptop.says("status", "demo", "--store", "store")
    assert "run demo: Complete" in shown
    attempts = {line.split()[0]: line.split()[1:3] for line in shown.splitlines()[3:]}
    assert attempts["data"] == ["Complete", "2"] and attempts[reader] == ["Complete", "3"]
    data = laptop.stage("data")
    assert data.last_failure is not None and data.spent.infrastructure == 1
    assert data.last_failure.message == (
        f"stage data: its artifact is corrupt ({reader} read it twice); it is made again"
    )
    assert "good" in laptop.says("artifacts", "verify", str(data.key), "--store", "store")


@pytest.mark.parametrize("words", ["", "random"], ids=["the same bytes", "other bytes"])
def test_what_was_damaged_between_two_starts_is_made_again(laptop: Laptop, words: str) -> None:
    laptop.has(told(DATA, words), SFT).runs("--until", "data")
    before, file = laptop.stage("data").artifact, flip_a_byte_of(laptop, "data")
    said = laptop.runs()
    assert f"{file.parent} is corrupt: {file.name} does not hash" in said
    assert_healed(laptop, "sft")
    after = laptop.stage("data").artifact
    assert (after == before) == (words == "")
    read = laptop.stage("sft").prepare
    assert after and read and read.inputs and read.inputs.data
    assert read.inputs.data.digest == after.digest


def test_what_was_damaged_while_another_stage_ran_costs_that_stage_nothing(laptop: Laptop) -> None:
    runner = laptop.has(DATA, told(SFT, "wait"), MORE).run()
    laptop.ready("sft")
    flip_a_byte_of(laptop, "data")
    laptop.lets_go("sft")
    laptop.end_of(runner)
    assert_healed(laptop, "more")
    assert laptop.stage("sft").attempts == 1
