"""`--set` and `--values`: changes to a run beside its file, as in Helm."""

from pathlib import Path
from typing import Any

import pytest
from acereason_operator.api.load import load_run
from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.yaml_loader import Document, load_documents

RUN = """\
apiVersion: acereason.dev/v1alpha1
kind: AceReasonRun
metadata: {name: tiny, labels: {team: a}}
spec:
  model: {path: base}
  storage: {directory: store}
  seed: 3
  stages:
  - name: prompts
    curate: {}
    inputs: {data: {path: math.jsonl}}
  - name: math-8k
    mathRL: {maxResponseTokens: 8192, temperature: {fixed: 0.85}, stop: {steps: 10}}
"""


def document() -> Document:
    return load_documents(RUN, "run.yaml")[0]


def set_by(*sets: str) -> Any:
    changed = apply_overrides(document(), list(sets), [])
    assert changed.problems == []
    return changed.data


def at(data: Any, *path: str | int) -> Any:
    for part in path:
        data = data[part]
    return data


MATH = ("spec", "stages", 1)
RL = (*MATH, "mathRL")
ENV = ("spec", "defaults", "env")
SETS = [
    ("a value, read as YAML", "spec.seed=0x10", ("spec", "seed"), 16),
    ("spec may be left out", "seed=1e-6", ("spec", "seed"), 1e-6),
    ("metadata is told apart", "metadata.name=other", ("metadata", "name"), "other"),
    (
        "a stage by its name",
        "stages.math-8k.mathRL.stop.steps=20",
        (*MATH, "mathRL", "stop", "steps"),
        20,
    ),
    ("a stage by its index", "spec.stages[1].name=math-9k", (*MATH, "name"), "math-9k"),
    ("a key that was not there", "defaults.nodes=2", ("spec", "defaults", "nodes"), 2),
    (
        "a list",
        "stages.math-8k.mathRL.temperature={0.6,0.8}",
        (*MATH, "mathRL", "temperature"),
        [0.6, 0.8],
    ),
    ("an empty list", "stages.math-8k.needs={}", (*MATH, "needs"), []),
    (
        "an item of a new list",
        "defaults.env[0].name=A",
        ("spec", "defaults", "env"),
        [{"name": "A"}],
    ),
    ("several at once", "seed=1,defaults.nodes=2", ("spec", "seed"), 1),
    ("a comma in a value", r"model.path=a\,b", ("spec", "model", "path"), "a,b"),
    ("an equals sign in a value", "model.path=a=b", ("spec", "model", "path"), "a=b"),
    ("a dot in a key", r"metadata.labels.a\.b/c=on", ("metadata", "labels", "a.b/c"), True),
    ("an empty value is null, which removes", "seed=", ("spec",), None),
]


@pytest.mark.parametrize(("why", "text", "path", "value"), SETS, ids=[case[0] for case in SETS])
def test_a_set_changes_one_place(
    why: str, text: str, path: tuple[str | int, ...], value: Any
) -> None:
    found = at(set_by(text), *path)
    if value is None:
        assert "seed" not in found
    else:
        assert found == value


def test_null_removes_a_key_so_that_another_member_can_stand_there() -> None:
    data = set_by("stages.math-8k.mathRL.stop.steps=null", "stages.math-8k.mathRL.stop.epochs=2")
    assert at(data, *MATH, "mathRL", "stop") == {"epochs": 2}


def test_later_sets_win_and_the_file_is_left_alone() -> None:
    original = document()
    changed = apply_overrides(original, ["seed=1", "seed=2"], [])
    assert (changed.data["spec"]["seed"], original.data["spec"]["seed"]) == (2, 3)


WRONG = [
    ("no value", "spec.seed", "'spec.seed' has no `=`; write path=value"),
    (
        "no such stage",
        "stages.math.mathRL.stop.steps=1",
        "there is no stage math; the stages are prompts, math-8k",
    ),
    ("a key below a number", "seed.x=1", "spec.seed holds the value 3; it has no key x"),
    ("an index into keys", "model[0]=1", "spec.model holds named keys; it has no item [0]"),
    (
        "an index past the end",
        "stages[5].name=x",
        "spec.stages has 2 items; [5] would leave a gap",
    ),
    (
        "no path",
        "=1",
        "'' is not a path at ''; write keys with dots between them, as in spec.stages[0].name or "
        "stages.math-8k.mathRL.stop.steps",
    ),
]


@pytest.mark.parametrize(("why", "text", "message"), WRONG, ids=[case[0] for case in WRONG])
def test_a_set_that_cannot_be_applied_names_its_bad_key(why: str, text: str, message: str) -> None:
    (problem,) = apply_overrides(document(), [text], []).problems
    assert (problem.file, problem.line, problem.message) == (f"--set {text}", None, message)


def test_a_value_that_is_wrong_points_at_the_set_that_gave_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    loaded = load_run(tmp_path / "run.yaml", ["stages.math-8k.mathRL.stop.stepz=4"], [])
    assert str(loaded.problems[0]) == (
        "--set stages.math-8k.mathRL.stop.stepz=4: spec.stages[1].mathRL.stop.stepz: there is no "
        "such field; did you mean steps?"
    )


def test_a_values_file_is_a_part_of_a_run_merged_by_stage_name(tmp_path: Path) -> None:
    values = tmp_path / "small.yaml"
    values.write_text(
        "spec:\n  seed: null\n  defaults: {nodes: 2}\n  stages:\n  - name: math-8k\n"
        "    mathRL: {maxResponseTokens: 64}\n"
    )
    changed = apply_overrides(document(), [], [values])
    assert changed.problems == []
    assert "seed" not in changed.data["spec"]
    assert changed.data["spec"]["defaults"] == {"nodes": 2}
    assert at(changed.data, *MATH, "mathRL") == {
        "maxResponseTokens": 64,
        "temperature": {"fixed": 0.85},
        "stop": {"steps": 10},
    }
    assert len(changed.data["spec"]["stages"]) == 2


def test_sets_come_after_values_files_and_later_files_after_earlier(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("spec: {seed: 10, defaults: {nodes: 1, image: a}}")
    second.write_text("spec: {seed: 11, defaults: {nodes: 2}}")
    changed = apply_overrides(document(), ["seed=12"], [first, second])
    assert changed.data["spec"]["seed"] == 12
    assert changed.data["spec"]["defaults"] == {"nodes": 2, "image": "a"}


def test_a_mistake_in_a_values_file_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    values = tmp_path / "small.yaml"
    values.write_text(
        "spec:\n  stages:\n  - name: math-8k\n    mathRL:\n      stop: {steps: 0}\n  - name: code\n"
    )
    loaded = load_run(tmp_path / "run.yaml", [], [values])
    assert {(p.file, p.line, p.path) for p in loaded.problems} == {
        (str(values), 5, "spec.stages[1].mathRL.stop.steps"),
        (str(values), 6, "spec.stages[1]"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory); --values needs a YAML file"),
        ("- a", "a values file holds a part of a run, as in spec: {seed: 1}"),
        ("a: [", "not YAML"),
    ],
)
def test_a_values_file_that_cannot_be_used_is_a_problem(
    tmp_path: Path, text: str | None, message: str
) -> None:
    values = tmp_path / "values.yaml"
    if text is not None:
        values.write_text(text)
    (problem,) = apply_overrides(document(), [], [values]).problems
    assert problem.file == str(values)
    assert message in problem.message
