"""Rows: read from JSONL and parquet, under our names, or refused with a sentence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acereason_trainer.config.curate import Columns
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.dataset import (
    Row,
    read_rows,
    require_checkable,
    require_distinct_ids,
    require_response,
    write_rows,
)
from acereason_trainer.stage import StageFailure


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(**data: Any) -> Row:
    return Row(id=str(data.get("id", "r")), data={"problem": "p", **data})


def test_all_files_of_a_directory_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    jsonl(tmp_path / "b" / "two.jsonl", {"problem": "second", "answer": "2"})
    pq.write_table(pa.table({"problem": ["first"], "answer": [1]}), tmp_path / "a.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    assert [(r.problem, r.data["answer"]) for r in read_rows(tmp_path)] == [
        ("first", "1"),
        ("second", "2"),
    ]


def test_parquet_and_jsonl_give_the_same_rows(tmp_path: Path) -> None:
    rows = [
        {"problem": "Add.", "answer": None, "tests": [{"input": "1 2", "output": "3"}], "level": 2},
        {"problem": "Count.", "answer": "7", "tests": None, "level": 5},
    ]
    jsonl(tmp_path / "x.jsonl", *rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    of_jsonl = [r.data for r in read_rows(tmp_path / "x.jsonl")]
    assert of_jsonl == [r.data for r in read_rows(tmp_path / "x.parquet")]
    assert [r.domain for r in read_rows(tmp_path / "x.parquet")] == ["code", "math"]


def test_columns_are_renamed_and_further_ones_stay(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "x.jsonl", {"q": "Why?", "a": 3.5, "category": "math", "tokens": 9})
    columns = Columns(problem="q", answer="a", domain="category")
    (only,) = read_rows(file, columns)
    assert only.data == {
        "problem": "Why?", "answer": "3.5", "domain": "math", "tokens": 9, "id": only.id,
    }  # fmt: skip


def test_an_id_is_made_from_the_problem_alone(tmp_path: Path) -> None:
    a = jsonl(tmp_path / "a.jsonl", {"problem": "Why?", "answer": 1})
    b = jsonl(tmp_path / "b.jsonl", {"problem": "Why?", "answer": 2}, {"problem": "x", "id": 17})
    ids = [r.id for r in (*read_rows(a), *read_rows(b))]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 16
    assert ids[2] == "17"


def test_tests_may_be_json_text(tmp_path: Path) -> None:
    tests = [{"input": "1", "output": "2"}]
    file = jsonl(tmp_path / "x.jsonl", {"problem": "p", "tests": json.dumps(tests)})
    assert next(read_rows(file)).data["tests"] == tests


BAD_LINES = [
    ('{"answer": 1}', 'x.jsonl line 2 has no "problem"', "no problem"),
    ('{"problem": ""}', 'x.jsonl line 2 has no "problem"', "an empty problem"),
    ('{"problem": 5}', 'x.jsonl line 2: "problem" is a number; it must be text', "not text"),
    ("[1]", "x.jsonl line 2 is a list; each line must be one object", "not an object"),
    ('{"problem": ', "x.jsonl line 2 is not JSON", "cut"),
    ("\xff", "x.jsonl line 2 is not JSON", "not UTF-8"),
    ('{"problem": "p", "answer": [1]}', '"answer" is a list; it must be text or', "answer a list"),
    ('{"problem": "p", "answer": true}', '"answer" is true or false', "answer a boolean"),
    (
        '{"problem": "p", "tests": {}}',
        "tests are an object; they must be a list",
        "tests an object",
    ),
    ('{"problem": "p", "tests": "x"}', '"tests" is text but not JSON', "tests no JSON"),
    ('{"problem": "p", "tests": [{"input": 1}]}', "tests[0] must be an object", "no output"),
]


@pytest.mark.parametrize(("line", "said", "why"), BAD_LINES, ids=[b[2] for b in BAD_LINES])
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, line: str, said: str, why: str
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'{"problem": "fine"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(StageFailure) as failure:
        list(read_rows(file))
    assert said in failure.value.message
    assert failure.value.code == ExitCode.BAD_CONFIGURATION


def test_a_path_without_data_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b")
    for path, said in (
        (tmp_path, "holds no .jsonl or .parquet"),
        (tmp_path / "x.csv", "neither .jsonl nor .parquet"),
        (tmp_path / "nope", "does not exist"),
    ):
        with pytest.raises(StageFailure, match=said):
            list(read_rows(path))


def test_a_broken_parquet_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StageFailure, match=r"x\.parquet is not a readable parquet file"):
        list(read_rows(tmp_path))


NAN = float("nan")
COPIES = [
    ({"answer": "1"}, {"answer": "1"}, "as mix makes it"),
    ({"loss": NAN}, {"loss": float("nan")}, "with a number that is none"),
]
OTHERS = [
    ({"answer": "1"}, {"answer": "2"}, "another answer"),
    ({"answer": "1"}, {"answer": "1", "problem": "q"}, "another problem"),
    ({"answer": "1", "source": "x"}, {"answer": "1", "source": "y"}, "another column"),
    ({"answer": "1"}, {"answer": "1", "source": "y"}, "one column more"),
]


def sharing_an_id(one: dict[str, Any], other: dict[str, Any]) -> list[Row]:
    return [
        Row("r", {"problem": "p", **one}, "a.jsonl line 1"),
        Row("another", {"problem": "p", **one}, "a.jsonl line 2"),
        Row("r", {"problem": "p", **other}, "b.jsonl line 7"),
    ]


@pytest.mark.parametrize(("one", "other", "why"), OTHERS, ids=[c[2] for c in OTHERS])
def test_an_id_of_two_different_rows_is_refused(
    one: dict[str, Any], other: dict[str, Any], why: str
) -> None:
    with pytest.raises(StageFailure) as failure:
        require_distinct_ids(sharing_an_id(one, other))
    assert "b.jsonl line 7 has the id r of a.jsonl line 1" in failure.value.message
    assert (failure.value.code, failure.value.reason) == (ExitCode.BAD_CONFIGURATION, "BadData")


@pytest.mark.parametrize(("one", "other", "why"), COPIES, ids=[c[2] for c in COPIES])
def test_a_copy_shares_its_rows_id_unless_each_may_stand_once_only(
    one: dict[str, Any], other: dict[str, Any], why: str
) -> None:
    rows = sharing_an_id(one, other)
    require_distinct_ids(rows)
    require_distinct_ids(rows[:2], copies=False)
    with pytest.raises(StageFailure, match="has the id r of"):
        require_distinct_ids(rows, copies=False)


def test_stages_refuse_rows_that_they_cannot_use() -> None:
    require_checkable(row(answer="1"))
    require_checkable(row(tests=[]))
    require_response(row(response="x"))
    with pytest.raises(StageFailure, match='no "answer" and no "tests"'):
        require_checkable(row(response="x"))
    with pytest.raises(StageFailure, match='no "response"'):
        require_response(row(answer="1"))


def test_written_rows_are_read_back_the_same(tmp_path: Path) -> None:
    rows = [row(id="a", answer="é"), row(id="b", tests=[{"input": "", "output": "1"}])]
    assert write_rows(tmp_path / "x.jsonl", rows) == 2
    assert [r.data for r in read_rows(tmp_path)] == [
        {"id": "a", "problem": "p", "answer": "é"},
        {"id": "b", "problem": "p", "tests": [{"input": "", "output": "1"}]},
    ]
