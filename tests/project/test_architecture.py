"""The page of decisions: whoever looks for one by its subject finds it, and no name has gone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "trainer" / "acereason_trainer"
_, _PAGE = (ROOT / "docs" / "architecture.md").read_text().split("## Names that others", 1)
NAMES, DECISIONS = _PAGE.split("## Decisions", 1)
INDEX, LIST = DECISIONS.split("\n\n1. ", 1)


def test_each_decision_stands_below_a_subject() -> None:
    numbers = [1, *map(int, re.findall(r"^(\d+)\. ", LIST, re.MULTILINE))]
    assert numbers == list(range(1, len(numbers) + 1))
    by_subject = re.findall(r"^- \*\*(.+?)\*\*: ([\d,\s]+?)$(?=\n- |\Z)", INDEX, re.MULTILINE)
    assert len(by_subject) == INDEX.count("\n- "), "one is not read"
    listed = [[int(n) for n in found.split(",")] for _, found in by_subject]
    assert all(found == sorted(set(found)) for found in listed)
    assert {n for found in listed for n in found} == set(numbers)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/.]+(?:\.py|/))` \|$", NAMES, re.M))))
def test_what_others_call_otherwise_is_where_it_is_said_to_be(path: str) -> None:
    assert (TRAINER / path).exists()
