"""What of a run can't be edited any more, in CEL: what its finished stages were made from.

Compared is what is in the stage key, after defaults: adding `verifier: {workers: 64}` to a finished
stage changes nothing that it was made from. The planner holds the same against digests, and more
exactly: it knows what a stage read by default, too.

The API server adds up what each rule could cost for the largest run there may be. A text costs by
its bound and an object nothing, so objects are compared whole where they may be, and texts only
with their defaults.
"""

import json
from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from acereason_trainer.config.annotations import model_in
from acereason_trainer.config.stage_file import StageSettings
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from acereason_operator.api.crd_schema import Rule

_DONE = "oldSelf.status.stages.exists(d, d.name == o.name && d.state in ['Complete', 'Reused'])"
"""The stage `o` of the old spec has finished. (One that the spec no longer has binds nobody.)"""
_OF_THE_RUN = {
    "storage": "stages have finished whose results are on the old volume",
    "seed": "stages have finished with the old one",
    "model": "stages have finished that were made from the old one",
}
"""Fields of the spec, and why they cannot be edited."""
_OF_A_STAGE = (
    "spec.stages: settings and inputs of a stage that has finished cannot be edited; undo the edit,"
    " or give the changed stage another name to run it"
)
_OTHER_MODEL = (
    "((has(o.inputs) && has(o.inputs.model)) || (has(o.curate) && !has(o.curate.passRate)))"
)
"""The stage `o` reads a model of its own, or none."""


def edit_rule() -> Rule:
    """A rule of the whole object; `oldSelf` is what it was before the edit.

    One rule, and it ends where the spec is the same: every write of a status pays for it.
    """
    run = f"self.spec.seed == oldSelf.spec.seed && !({_OTHER_VOLUME})"
    model = f"(self.spec.model == oldSelf.spec.model || {_OTHER_MODEL})"
    return Rule(
        "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.stages) || "
        f"oldSelf.spec.stages.all(o, !{_DONE} || ({run} && {model} && {_same_stages()}))",
        _OF_A_STAGE,
        field=".spec",
        worked_out=_message(),
    )


def _message() -> str:
    """The field that may not be edited, where several may have been. (The stage cannot be named: a
    text out of a list that was filtered counts a hundred times what a message may cost.)"""
    edited = {
        "storage": _OTHER_VOLUME,
        "seed": "self.spec.seed != oldSelf.spec.seed",
        "model": "self.spec.model != oldSelf.spec.model && "
        f"oldSelf.spec.stages.exists(o, {_DONE} && !{_OTHER_MODEL})",
    }
    choices = (
        f"{edited[name]} ? 'spec.{name}: {why}; undo the edit, or start another run' : "
        for name, why in _OF_THE_RUN.items()
    )
    return f"{''.join(choices)}'{_OF_A_STAGE}'"


def _same_stages() -> str:
    """What `o` was made from is what the stage of its name says, if there still is one."""
    same = " && ".join(f"({holds})" for holds in _same_stage())
    return f"self.spec.stages.all(n, n.name != o.name || ({same}))"


def _same_stage() -> Iterator[str]:
    """What `o` was made from is what the stage `n` of the same name says."""
    yield "has(o.inputs) == has(n.inputs) && (!has(o.inputs) || o.inputs == n.inputs)"
    for field, info in StageSettings.model_fields.items():
        kind, model = info.alias or field, model_in(info.annotation)
        assert model is not None, "every kind has its settings"
        same = _same_object(model, f"o.{kind}", f"n.{kind}")
        yield f"!has(o.{kind}) || (has(n.{kind}) && {same})"


def _volume(storage: str) -> str:
    """What the planner calls the volume (`planner/digests.py`)."""
    return (
        f"(has({storage}.claimTemplate) ? {storage}.claimTemplate.name : "
        f"has({storage}.claim) ? {storage}.claim : "
        f"has({storage}.objectStore) ? {storage}.objectStore : '')"
    )


_OTHER_VOLUME = f"{_volume('self.spec.storage')} != {_volume('oldSelf.spec.storage')}"


def _same_object(model: type[BaseModel], one: str, other: str) -> str:
    """Two objects that are there agree in all that is in the stage key."""
    if not any(map(_left_out, _fields_below(model))):
        return f"{one} == {other}"
    return " && ".join(
        _same_field(info, f"{one}.{info.alias or name}", f"{other}.{info.alias or name}")
        for name, info in model.model_fields.items()
        if not _left_out(info)
    )


def _same_field(info: FieldInfo, one: str, other: str) -> str:
    inner = _object_in(info)
    same = f"{one} == {other}" if inner is None else f"({_same_object(inner, one, other)})"
    if isinstance(info.default, BaseModel) and inner is not None:
        said = " : ".join(f"has({it}) ? {_is_default(info.default, it)}" for it in (one, other))
        return f"(has({one}) && has({other}) ? {same} : {said} : true)"
    if _always_there(info):
        return same
    if info.default_factory is list:
        filled = [f"(has({it}) && {it}.size() > 0)" for it in (one, other)]
        return f"{filled[0]} == {filled[1]} && (!has({one}) || !has({other}) || {same})"
    return f"has({one}) == has({other}) && (!has({one}) || {same})"


def _is_default(default: BaseModel, it: str) -> str:
    """An object says what its default says."""
    return " && ".join(
        _says(info, getattr(default, name), f"{it}.{info.alias or name}")
        for name, info in type(default).model_fields.items()
        if not _left_out(info)
    )


def _says(info: FieldInfo, value: Any, it: str) -> str:
    if value is None:
        return f"!has({it})"
    if value == []:
        return f"(!has({it}) || {it}.size() == 0)"
    if isinstance(value, BaseModel):
        return f"(!has({it}) || ({_is_default(value, it)}))"
    equal = f"{it} == {json.dumps(value)}"
    return equal if _always_there(info) else f"has({it}) && {equal}"


def _always_there(info: FieldInfo) -> bool:
    """Whether a value is in every object that is stored: required, or filled in."""
    filled_in = isinstance(info.default, (str, int, float)) or (
        isinstance(info.default, list) and info.default != []
    )
    return info.is_required() or filled_in


def _object_in(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that holds one object; None where null means something else than
    absence, which whole values are compared for."""
    choices = [arg for arg in get_args(info.annotation) if arg is not NoneType]
    held = choices[0] if len(choices) == 1 and info.default is None else info.annotation
    return held if isinstance(held, type) and issubclass(held, BaseModel) else None


def _fields_below(model: type[BaseModel]) -> Iterator[FieldInfo]:
    for info in model.model_fields.values():
        yield info
        inner = model_in(info.annotation)
        if inner is not None:
            yield from _fields_below(inner)


def _left_out(info: FieldInfo) -> bool:
    """Whether a field is in no key: marked so, or an object of nothing but such fields."""
    extra = info.json_schema_extra
    if isinstance(extra, dict) and extra.get("x-acereason-in-key") is False:
        return True
    inner = _object_in(info)
    return inner is not None and all(map(_left_out, inner.model_fields.values()))
