"""The base of every pydantic model in the project: strict names, camelCase outside, frozen inside.

YAML and JSON use camelCase, Python uses snake_case. Unknown fields are errors, so that a typo
never becomes a silent default. A field's docstring is its description in the JSON Schema, the CRD
and the reference page.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Combination(ValueError):
    """Settings that are fine alone and cannot work together, with the sentence that says why.

    `fields` are the settings it looks at, by their outside names and relative to the model that
    raises it (`stop.plateau`); the first is where a message points. Without any, the whole model
    is meant. Whoever reports every problem of a file leaves it out where one of them is broken.
    """

    def __init__(self, sentence: str, *fields: str) -> None:
        super().__init__(sentence)
        self.fields = fields


class SeveralMembers(Combination):
    """More than one member of a union is set (`fields`), whatever they hold."""


class Model(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Read data from outside (YAML, JSON): only the camelCase names are names there, and a
        number in quotes is no number, as on the API server.

        Raises pydantic.ValidationError, which holds every problem at once.
        """
        return cls.model_validate(data, strict=True, by_alias=True, by_name=False)

    @classmethod
    def parse_json(cls, text: str | bytes) -> Self:
        """Like `parse`, from JSON text."""
        return cls.model_validate_json(text, strict=True, by_alias=True, by_name=False)

    def dump(self) -> dict[str, Any]:
        """Plain JSON-able data under the outside names, without None where that is the default.

        A null that means something (`decontamination: null`) is kept: reading it back gives the
        same model.
        """
        data = self.model_dump(mode="json", by_alias=True)
        _drop_unset(self, data)
        return data


def _drop_unset(value: Any, data: Any) -> None:
    """Drop None where it is the default, from what a value was dumped as."""
    if isinstance(value, Model):
        for name, info in type(value).model_fields.items():
            outside, inside = info.alias or name, getattr(value, name)
            if inside is None and info.default is None:
                del data[outside]
            else:
                _drop_unset(inside, data[outside])
    elif isinstance(value, (list, tuple)):
        for item, dumped in zip(value, data, strict=True):
            _drop_unset(item, dumped)
    elif isinstance(value, dict):
        for key, item in value.items():
            _drop_unset(item, data[key])


NOT_IN_KEY: dict[str, Any] = {"x-acereason-in-key": False}
"""Mark for `Field(json_schema_extra=...)`: this setting changes how a stage runs, not what comes
out, so it is left out of the stage key and an edit of it reuses finished work."""
IN_KEY_WHEN_SET: dict[str, Any] = {"x-acereason-in-key": "whenSet"}
"""Mark for an optional setting that came later: unset, or at its default, it is left out of the
stage key, so that files without it keep the keys that they had."""
