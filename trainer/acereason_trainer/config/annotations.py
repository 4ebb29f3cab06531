"""Looking through a field's type."""

import types
import typing
from typing import Any

from pydantic import BaseModel


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, behind lists, optionals and constraints, if any."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    if typing.get_origin(annotation) is dict:
        return None
    inner = (model_in(part) for part in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)
