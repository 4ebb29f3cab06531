"""A union of named members, as a structural schema needs it: `{path: ...}` or `{hub: ...}`."""

from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from acereason_trainer.config.model import Combination, Model, SeveralMembers


class OneOf(Model):
    """Exactly one field may be set; of a class below, those of its first ancestor below this one.

    Too many members are told together with what is wrong inside of them.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _one(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            read = handler(data)
        except ValidationError as e:
            given = [name for name, field in cls._members() if _holds(data, name, field)]
            if len(given) < 2:
                raise
            raise _and_several(e, data, given) from e
        given = [name for name, field in cls._members() if getattr(read, field) is not None]
        if not given:
            names = ", ".join(name for name, _ in cls._members())
            raise Combination(f"holds none of its members; give one of {names}")
        if len(given) > 1:
            raise _several(given)
        return read

    @classmethod
    def _members(cls) -> list[tuple[str, str]]:
        """Outside and inside name of each."""
        below = [c for c in cls.__mro__ if issubclass(c, OneOf) and c is not OneOf]
        return [(info.alias or field, field) for field, info in below[-1].model_fields.items()]


def _holds(data: Any, name: str, field: str) -> bool:
    return isinstance(data, dict) and (data.get(name), data.get(field)) != (None, None)


def _several(given: list[str]) -> SeveralMembers:
    return SeveralMembers(f"holds {' and '.join(given)}; keep one of them", *given)


def _and_several(e: ValidationError, data: Any, given: list[str]) -> ValidationError:
    several = InitErrorDetails(
        type="value_error", loc=(), input=data, ctx={"error": _several(given)}
    )
    others = [
        InitErrorDetails(
            type=one["type"], loc=one["loc"], input=one["input"], ctx=one.get("ctx", {})
        )
        for one in e.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(e.title, [several, *others])
