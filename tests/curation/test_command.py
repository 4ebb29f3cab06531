"""`acereason curate` from a terminal: what it writes, and what it says where it cannot."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from acereason_trainer.curation.__main__ import main

Curate = Callable[..., tuple[int, str]]

OLD = '{"problem": "kept from an earlier time"}\n'


@pytest.fixture
def curate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Curate:
    """The command in a directory with three rows: exit code and what it says of errors."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"problem": f"What is the sum of {n} and {n}, as a whole number?", "answer": str(2 * n)}
        for n in (1, 2, 3)
    ]
    Path("few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("data").mkdir()
    Path("data/rows.jsonl").write_text(Path("few.jsonl").read_text())
    Path("held.jsonl").write_text('{"problem": "Is this another question?"}\n')
    Path("old.jsonl").write_text(OLD)
    Path("link.jsonl").symlink_to("few.jsonl")

    def said(*words: str) -> tuple[int, str]:
        return main(list(words)), capsys.readouterr().err

    return said


def content(root: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["few.jsonl", "--out", "few.jsonl"], "--out few.jsonl is the input few.jsonl"),
        (["few.jsonl", "--out", "link.jsonl"], "--out link.jsonl is the input few.jsonl"),
        (["data", "--out", "data/kept.jsonl"], "--out data/kept.jsonl lies in the input data"),
        (
            ["few.jsonl", "--held-out", "held.jsonl", "--out", "held.jsonl"],
            "--out held.jsonl is the input held.jsonl",
        ),
        (["few.jsonl", "--out", "data"], "--out data is a directory; give a file in it"),
        (
            ["few.jsonl", "--out", "no/where/kept.jsonl"],
            "--out no/where/kept.jsonl: no/where is no directory; make it first",
        ),
        (["nothing.jsonl", "--out", "old.jsonl"], "nothing.jsonl does not exist"),
    ],
)
def test_a_refused_or_failing_curate_leaves_every_file_as_it_was(
    curate: Curate, tmp_path: Path, words: list[str], sentence: str
) -> None:
    before = content(tmp_path)
    code, said = curate(*words)
    assert (code, sentence in said) == (2, True), said
    assert "Errno" not in said
    assert content(tmp_path) == before


def test_a_row_that_cannot_be_read_leaves_an_earlier_output(curate: Curate, tmp_path: Path) -> None:
    with Path("few.jsonl").open("a") as rows:
        rows.write("{broken\n")
    before = content(tmp_path)
    code, said = curate("few.jsonl", "--out", "old.jsonl")
    assert code == 2 and "few.jsonl line 4 is not JSON" in said
    assert content(tmp_path) == before


def test_kept_rows_take_the_place_of_an_earlier_output(curate: Curate, tmp_path: Path) -> None:
    names = set(content(tmp_path))
    assert curate("few.jsonl", "--out", "old.jsonl") == (0, "")
    assert len(Path("old.jsonl").read_text().splitlines()) == 3
    assert set(content(tmp_path)) == names
