import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from acereason_trainer.config.model import Model
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import (
    SEMANTICS,
    SEMANTICS_OF_PARTS,
    PreparedInputs,
    StageFile,
    StageSettings,
)
from acereason_trainer.prepare.key import stage_key
from stage_builders import a_stage_file

KINDS = {
    info.alias: next(t for t in get_args(info.annotation) if t is not type(None))
    for info in StageSettings.model_fields.values()
}


def ref(digit: str, uri: str = "artifacts/x") -> ArtifactRef:
    return ArtifactRef(uri=uri, digest="sha256:" + digit * 64)


INPUTS = PreparedInputs(
    model=ref("1"), data=ref("2"), held_out=[ref("3"), ref("4")], validation=ref("5")
)
FILE = a_stage_file(Path("/store"))


def models_in(annotation: Any) -> list[type[Model]]:
    if get_origin(annotation) in (Union, UnionType, Annotated, list, tuple):
        return [m for part in get_args(annotation) for m in models_in(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Model) else []


def filled(form: type[Model]) -> Model:
    """Settings in which every field that can hold a model holds one; combinations unchecked."""
    values: dict[str, Any] = {}
    for name, info in form.model_fields.items():
        models = models_in(info.annotation)
        if models:
            inner = filled(models[0])
            is_list = "list" in str(info.annotation)
            values[name] = [inner] if is_list else inner
        else:
            values[name] = (
                info.get_default(call_default_factory=True) if not (info.is_required()) else 1
            )
    return form.model_construct(**values)


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, (list, tuple)):
        return [*value, 1]
    return "x"  # None, or what a required field stands for


def changed(settings: Model, path: tuple[str, ...] = (), in_key: bool = True) -> Iterator[
    tuple[str, bool, Model]
]:  # fmt: skip
    """(field, whether it is in the key, the settings with another value there), at every depth."""
    for name, info in type(settings).model_fields.items():
        extra = info.json_schema_extra
        counts = in_key and not (
            isinstance(extra, dict) and extra.get("x-acereason-in-key") is False
        )
        value, here = getattr(settings, name), (*path, name)
        inner = value[0] if isinstance(value, list) and value else value
        if not isinstance(inner, Model):
            yield ".".join(here), counts, settings.model_copy(update={name: another(value)})
            continue
        for field, deep, other in changed(inner, here, counts):
            new = [other] if isinstance(value, list) else other
            yield field, deep, settings.model_copy(update={name: new})


def key_of(settings: Model, kind: str) -> str:
    name = next(n for n, i in StageSettings.model_fields.items() if i.alias == kind)
    union = StageSettings.model_construct(**{name: settings})
    return stage_key(FILE.model_copy(update={"settings": union}), INPUTS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_changes_the_key_except_those_that_never_change_results(kind):
    settings = filled(KINDS[kind])
    original, seen = key_of(settings, kind), {True: 0, False: 0}
    for field, in_key, other in changed(settings):
        assert (key_of(other, kind) != original) == in_key, field
        seen[in_key] += 1
    assert seen[True] > 5
    assert seen[False] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "other"},
        {"namespace": "elsewhere"},
        {"stage": "other"},
        {"attempt": 7},
        {"salt": 1},
        {"before_step": 3},
        {"store": "/elsewhere"},
        {"ranks": 8},
        {"nodes": 4},
        {"no_progress_seconds": 5.0},
        {"grace_seconds": 5.0},
    ],
    ids=str,
)
def test_where_and_under_which_name_a_stage_runs_is_not_in_the_key(changes):
    assert stage_key(FILE.model_copy(update=changes), INPUTS) == stage_key(FILE, INPUTS)


def test_every_other_field_of_a_stage_file_is_in_the_key_or_named_above():
    outside = {"run", "namespace", "stage", "attempt", "salt", "before_step", "store", "ranks",
               "nodes", "no_progress_seconds", "grace_seconds"}  # fmt: skip
    inside = {"settings", "seed", "inputs"}
    form = {"api_version", "prepared"}
    assert set(StageFile.model_fields) == outside | inside | form


@pytest.mark.parametrize(
    "inputs",
    [
        {"model": ref("9")},
        {"model": None},
        {"data": ref("9")},
        {"held_out": [ref("3")]},
        {"held_out": [ref("4"), ref("3")]},
        {"validation": None},
        {"model": ref("2"), "data": ref("1")},
    ],
    ids=str,
)
def test_inputs_are_in_the_key_by_name_and_digest(inputs):
    other = INPUTS.model_copy(update=inputs)
    assert stage_key(FILE, other) != stage_key(FILE, INPUTS)


def test_where_an_input_lies_is_not_in_the_key():
    moved = INPUTS.model_copy(update={"model": ref("1", "/another/store/artifacts/x")})
    assert stage_key(FILE, moved) == stage_key(FILE, INPUTS)


def test_the_seed_and_the_semantics_of_the_kind_are_in_the_key(monkeypatch):
    original = stage_key(FILE, INPUTS)
    assert stage_key(FILE.model_copy(update={"seed": 1}), INPUTS) != original
    monkeypatch.setitem(SEMANTICS, "sft", SEMANTICS["sft"] + 1)
    assert stage_key(FILE, INPUTS) != original


def test_the_semantics_of_a_part_are_in_the_keys_of_stages_that_have_it(monkeypatch):
    exact = FILE.model_copy(
        update={"settings": StageSettings.parse({"sft": {"loading": {"dtype": "float32"}}})}
    )
    rounded = FILE.model_copy(update={"settings": StageSettings.parse({"sft": {}})})
    before = [stage_key(file, INPUTS) for file in (exact, rounded)]
    monkeypatch.setitem(SEMANTICS_OF_PARTS, "bfloat16", SEMANTICS_OF_PARTS["bfloat16"] + 1)
    assert stage_key(exact, INPUTS) == before[0]
    assert stage_key(rounded, INPUTS) != before[1]


def test_a_key_says_its_kind_and_survives_the_trip_through_a_file():
    key = stage_key(FILE, INPUTS)
    assert key.startswith("sft-")
    assert len(key) == len("sft-") + 32
    again = StageFile.parse_json(json.dumps(FILE.dump()))
    assert stage_key(again, PreparedInputs.parse_json(json.dumps(INPUTS.dump()))) == key
