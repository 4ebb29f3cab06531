"""A podTemplate merged into ours: nothing of the user's is lost, nothing of ours by accident."""

from copy import deepcopy
from typing import Any

import pytest
from acereason_operator.cluster.merge import LIST_KEYS, merged
from hypothesis import given
from hypothesis import strategies as st

LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["spec", "containers", "env", "tolerations", "name", "value", "x"])


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(NAMES, values, max_size=4)


TREES = maps(st.recursive(LEAVES, lambda inner: maps(inner) | st.lists(inner, max_size=3)))


@given(TREES)
def test_nothing_merged_changes_nothing(ours: Any) -> None:
    assert merged(ours, {}) == ours


@given(TREES, TREES)
def test_neither_side_is_changed(ours: Any, theirs: Any) -> None:
    before = deepcopy((ours, theirs))
    merged(ours, theirs)
    assert (ours, theirs) == before


def with_keys(tree: Any) -> Any:
    """The tree with a key in every element of a keyed list: without one, an element is new each
    time."""
    if isinstance(tree, list):
        return [with_keys(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    return {name: with_keys(keyed(name, value)) for name, value in tree.items()}


def keyed(name: str, value: Any) -> Any:
    if name not in LIST_KEYS or not isinstance(value, list):
        return value
    elements = [v if isinstance(v, dict) else {} for v in value]
    return [{**element, LIST_KEYS[name]: str(i)} for i, element in enumerate(elements)]


@given(TREES.map(with_keys), TREES.map(with_keys))
def test_merging_twice_is_merging_once(ours: Any, theirs: Any) -> None:
    once = merged(ours, theirs)
    assert merged(once, theirs) == once


@given(TREES.map(with_keys), TREES.map(with_keys))
def test_what_the_user_says_holds(ours: Any, theirs: Any) -> None:
    assert_holds(merged(ours, theirs), theirs)


def assert_holds(result: Any, said: Any) -> None:
    """Every leaf of what was said is in the result; a null is not."""
    if isinstance(said, list):
        for part, element in zip(result, said, strict=True):
            assert_holds(part, element)
        return
    if not isinstance(said, dict):
        assert result == said
        return
    for name, value in said.items():
        if value is None:
            assert name not in result
        elif name in LIST_KEYS and isinstance(value, list):
            for element in value:
                key = LIST_KEYS[name]
                assert_holds(next(e for e in result[name] if e[key] == element[key]), element)
        else:
            assert_holds(result[name], value)


@given(TREES.map(with_keys), TREES.map(with_keys))
def test_what_the_user_does_not_name_stays(ours: Any, theirs: Any) -> None:
    result = merged(ours, theirs)
    assert {n: v for n, v in result.items() if n not in theirs} == {
        n: v for n, v in ours.items() if n not in theirs
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "result", "why"),
    [
        (
            {"containers": [{"name": "a", "image": "i"}]},
            {"containers": [{"name": "b"}, {"name": "a", "image": "j"}]},
            {"containers": [{"name": "a", "image": "j"}, {"name": "b"}]},
            "ours stays first: it is what kubectl logs shows",
        ),
        (
            {"volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory"}}]},
            {"volumes": [{"name": "dshm", "hostPath": {"path": "/dev/shm"}}]},
            {"volumes": [{"name": "dshm", "hostPath": {"path": "/dev/shm"}}]},
            "a volume has one source",
        ),
        (
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
            "a variable has a value or a source",
        ),
        (
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "b"}]},
            {"tolerations": [{"key": "b"}]},
            "Kubernetes has no key for tolerations: the list is replaced",
        ),
        (
            {"securityContext": {"runAsUser": 1, "runAsNonRoot": True}},
            {"securityContext": {"runAsUser": None}},
            {"securityContext": {"runAsNonRoot": True}},
            "null removes",
        ),
        (
            {"securityContext": {"runAsUser": 1}},
            {"securityContext": None},
            {},
            "null removes a whole part",
        ),
    ],
)
def test_merging(ours: Any, theirs: Any, result: Any, why: str) -> None:
    assert merged(ours, theirs) == result, why
