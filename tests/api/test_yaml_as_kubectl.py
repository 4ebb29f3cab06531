"""One file means one thing: kubectl and `acereason` read the same values out of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from acereason_operator.api.yaml_loader import load_documents

HERE = Path(__file__).parent / "kubectl_yaml"
EXPECTED: list[dict[str, Any]] = json.loads((HERE / "expected.json").read_text())


def test_the_expected_values_were_made_from_this_corpus() -> None:
    corpus = json.loads((HERE / "corpus.json").read_text())
    assert [(e["why"], e["yaml"]) for e in EXPECTED] == [(c["why"], c["yaml"]) for c in corpus], (
        "run: make kubectl-yaml"
    )


STRICTER = {
    "a: 1\na: 2": "already set on line 1",
    'a: 1\n"a": 2': "already set on line 1",
    "a: {b: 1, b: 2}": "already set on line 1",
    "1: a\n0x1: b": "already set on line 1",
    "y: 1\ntrue: 2": "already set on line 1",
    '"a" b': "not YAML",
}
"""What kubectl reads by dropping a part of it, with our word for it."""


def named(example: dict[str, Any]) -> str:
    return f"{example['why']}: {example['yaml']!r}"


@pytest.mark.parametrize("example", [e for e in EXPECTED if "json" in e], ids=named)
def test_what_kubectl_reads_is_read_alike(example: dict[str, Any]) -> None:
    documents = load_documents(example["yaml"], "run.yaml")
    problems = [problem for document in documents for problem in document.problems]
    if problems and example["yaml"] in STRICTER:
        assert STRICTER[example["yaml"]] in problems[0].message
        return
    assert problems == []
    data = documents[0].data if documents else None
    assert same(data, example["json"]), f"{data!r} is not {example['json']!r}"


@pytest.mark.parametrize("example", [e for e in EXPECTED if "error" in e], ids=named)
def test_what_kubectl_refuses_is_a_problem(example: dict[str, Any]) -> None:
    documents = load_documents(example["yaml"], "run.yaml")
    assert [problem for document in documents for problem in document.problems]


def same(ours: Any, theirs: Any) -> bool:
    """Equal, and of equal JSON types: 1 is not True, 1.5 is not "1.5"."""
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict)
            and sorted(ours) == sorted(theirs)
            and all(same(ours[k], theirs[k]) for k in theirs)
        )
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, bool) or theirs is None or isinstance(theirs, str):
        return type(ours) is type(theirs) and ours == theirs
    if isinstance(ours, bool) or not isinstance(ours, (int, float)):
        return False
    # Go writes large floats with zeros for the digits that they do not have.
    return float(ours) == float(theirs) if abs(theirs) > 2**63 else ours == theirs
