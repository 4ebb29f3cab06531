"""The funnel: every row is accounted for; and the dry look from the command line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acereason_trainer.config.curate import Curate
from acereason_trainer.curation.__main__ import main
from acereason_trainer.curation.funnel import Funnel
from acereason_trainer.curation.selection import select
from acereason_trainer.dataset import Row
from hypothesis import given
from hypothesis import strategies as st

SETTINGS = Curate.parse({
    "rules": {"minProblemCharacters": 4},
    "decontamination": {"ngram": 2},
    "mix": [{"where": [{"column": "n", "max": 3}], "weight": 0},
            {"where": [{"column": "n", "max": 6}], "weight": 2.5}],
})  # fmt: skip

ROWS = st.lists(
    st.builds(
        lambda text, n: {"problem": text, "answer": "1", "n": n},
        st.lists(st.sampled_from(["ab", "cd", "ef"]), min_size=1, max_size=4).map(" ".join),
        st.integers(0, 9),
    ),
    max_size=40,
)


@given(ROWS)
def test_the_counts_of_every_step_add_up(data: list[dict[str, Any]]) -> None:
    rows = [Row(str(i), d, f"line {i}") for i, d in enumerate(data)]
    funnel = Funnel()
    kept = list(select(rows, SETTINGS, [("test", "ab cd")], funnel, "seed"))
    assert [s.name for s in funnel.steps] == ["rules", "duplicates", "decontamination", "mix"]
    assert funnel.rows_in == len(rows)
    assert funnel.rows_out == len(kept)
    for before, after in zip(funnel.steps, funnel.steps[1:], strict=False):
        assert before.rows_out == after.rows_in
    for step in funnel.steps:
        assert step.rows_in - step.dropped.total() + step.added == step.rows_out
        assert step.added == 0 or step.name == "mix"
        assert step.examples.keys() == step.dropped.keys()


def test_the_first_dropped_row_of_a_reason_is_its_example() -> None:
    funnel, long = Funnel(), "Prove that " + "x" * 1000
    rows = [Row(str(i), {"problem": long, "answer": "1"}, f"line {i}") for i in range(3)]
    assert list(select(rows, Curate(), [], funnel, "seed")) == []
    example = funnel.steps[0].examples["proofs"]
    assert (example["id"], example["origin"], len(example["problem"])) == ("0", "line 0", 300)
    assert funnel.sentence() == "3 rows in; rules dropped 3 (proofs 3)"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six rows as a hub has them: parquet, other column names."""
    held_out = "A farmer has 17 sheep and all but 9 run away in the night."
    texts = [
        "Find the smallest prime number above 6.",
        "Find the smallest prime number above 60.",
        "find the smallest prime number above 60",
        "Prove that there are infinitely many primes.",
        held_out + " How many are left?",
        "Find the largest prime number below 6.",
    ]
    table = pa.table({"question": texts, "final": [7, 61, 61, 0, 9, 5]})
    pq.write_table(table, tmp_path / "train.parquet")
    (tmp_path / "test.jsonl").write_text(json.dumps({"problem": held_out}))
    (tmp_path / "curate.yaml").write_text("columns: {problem: question, answer: final}\n")
    return tmp_path


def options(dataset: Path, *more: str) -> list[str]:
    return [
        str(dataset / "train.parquet"), "--settings", str(dataset / "curate.yaml"),
        "--held-out", str(dataset / "test.jsonl"), *more,
    ]  # fmt: skip


def test_a_dry_look_counts_each_reason(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(dataset)) == 0
    assert [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()] == [
        "rows in",
        "rules: proofs (16.7%)",
        "duplicates: normalized (20.0%)",
        "decontamination: overlap (25.0%)",
        "rows out",
    ]


def test_a_dry_look_shows_examples(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(dataset, "--examples")) == 0
    out = capsys.readouterr().out
    assert 'train.parquet row 4: "Prove that there are infinitely many primes."' in out
    assert "repeats train.parquet row 2" in out
    assert "test.jsonl line 1" in out


def test_a_dry_look_can_be_read_by_a_program_and_keep_its_rows(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = dataset / "kept.jsonl"
    assert main(options(dataset, "-o", "json", "--out", str(kept))) == 0
    assert json.loads(capsys.readouterr().out)["out"] == 3
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [r["answer"] for r in rows] == ["7", "61", "5"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("rules: {minTests: -1}", "rules.minTests: -1 is below 0; use 0 or more"),
        ("domian: math", "domian: there is no such field; did you mean"),
        ("columns: {problem: text}", 'train.parquet row 1 has no "text"'),
        ("- a\n- list", "curate.yaml"),
        ("a: [", "curate.yaml is not YAML"),
    ],
)
def test_a_wrong_input_is_named_and_ends_with_2(
    dataset: Path, capsys: pytest.CaptureFixture[str], settings: str, said: str
) -> None:
    (dataset / "curate.yaml").write_text(settings)
    assert main(options(dataset)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
