"""Whatever a file holds: problems in sentences, never a traceback."""

import copy
from pathlib import Path
from typing import Any

import yaml
from acereason_operator.api.load import read_run
from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.yaml_loader import Document, load_documents, read_scalar
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

GOOD = load_documents((Path(__file__).parent / "every_field.yaml").read_text(), "run.yaml")[0]

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places_of(data: Any) -> list[tuple[str | int, ...]]:
    """Every path of a document below its top."""
    return [path for path in _walk(data, ()) if path]


def _walk(data: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    if isinstance(data, dict):
        return [path, *(p for k, v in data.items() for p in _walk(v, (*path, k)))]
    if isinstance(data, list):
        return [path, *(p for i, v in enumerate(data) for p in _walk(v, (*path, i)))]
    return [path]


PLACES = places_of(GOOD.data)


def test_the_file_that_is_broken_here_is_whole() -> None:
    loaded = read_run(GOOD)
    assert [str(problem) for problem in loaded.problems] == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=4))
def test_any_value_in_any_place_gives_a_run_or_sentences(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    data = copy.deepcopy(GOOD.data)
    for path, value in changes:
        put(data, path, value)
    loaded = read_run(Document("run.yaml", data, dict(GOOD.origins)))
    assert (loaded.run is None) == bool(loaded.problems)
    for problem in loaded.problems:
        assert problem.message
        assert "Input should" not in problem.message
        assert "Value error" not in problem.message
        assert problem.line is not None
    assert len(set(loaded.problems)) == len(loaded.problems)


NAMES = ["spec", "seed", "stages", "model", "path", "name", "curate", "a", "math-1"]
PATHS = st.lists(
    st.one_of(
        st.sampled_from([*NAMES, *(s["name"] for s in GOOD.data["spec"]["stages"])]),
        st.sampled_from(["stages[0]", "stages[1]", "env[0]", "a[7]", "[0]", ""]),
    ),
    min_size=1,
    max_size=4,
).map(".".join)
SETS = st.one_of(
    st.text(max_size=12),
    st.builds("{}={}".format, PATHS, st.sampled_from(["1", "x", "null", "{1,2}", "[", "{a: 1}"])),
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.sampled_from(PLACES), VALUES), max_size=3),
    st.lists(SETS, max_size=2),
    st.one_of(
        st.none(),
        st.text(max_size=12),
        st.tuples(st.sampled_from(PLACES), VALUES),
    ),
)
@example([(("spec", "stages"), 5)], ["stages.a.b=1"], None)
@example([(("spec", "stages"), 5)], [], "spec: {stages: [{name: a}]}")
def test_any_override_of_any_file_gives_a_run_or_sentences(
    tmp_path: Path,
    changes: list[tuple[tuple[str | int, ...], Any]],
    sets: list[str],
    values: str | tuple[tuple[str | int, ...], Any] | None,
) -> None:
    data = copy.deepcopy(GOOD.data)
    for path, value in changes:
        put(data, path, value)
    file = tmp_path / "values.yaml"
    if isinstance(values, tuple):
        part = copy.deepcopy(GOOD.data)
        put(part, *values)
        file.write_text(yaml.safe_dump(part))
    else:
        file.write_text(values or "", encoding="utf-8")
    given_document = Document("run.yaml", data, dict(GOOD.origins))
    files = [] if values is None else [file]
    loaded = read_run(apply_overrides(given_document, sets, files))
    assert (loaded.run is None) == bool(loaded.problems)
    assert all(problem.message for problem in loaded.problems)


def put(data: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Put a value at a path, where an earlier change left that path standing."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1]
    fits = isinstance(last, int) and isinstance(data, list) and last < len(data)
    if fits or (isinstance(last, str) and isinstance(data, dict)):
        data[last] = copy.deepcopy(value)


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for document in load_documents(text, "run.yaml"):
        assert document.data is not None or document.problems


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_writes_is_read_back(value: float) -> None:
    assert read_scalar(repr(value)) == value
