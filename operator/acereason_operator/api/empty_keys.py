"""Keys without a value, as in `passRate:` with nothing behind the colon.

YAML makes null of them, and the API server drops null where it means nothing before it checks
anything: who writes `passRate:` means `passRate: {}`, and would silently get no filter. So this is
told here.
"""

from collections.abc import Iterator
from typing import Any

from acereason_trainer.config.annotations import model_in
from acereason_trainer.config.problems import Path
from pydantic import BaseModel
from pydantic.fields import FieldInfo

EMPTY = "is empty; give it a value, or leave the key out"


def empty_keys(model: type[BaseModel], data: Any) -> Iterator[Path]:
    """Where `data` has null for an optional field of a model whose default is null already."""
    if isinstance(data, list):
        for i, item in enumerate(data):
            yield from ((i, *path) for path in empty_keys(model, item))
    elif isinstance(data, dict):
        for name, info in model.model_fields.items():
            key = info.alias or name
            if key in data:
                yield from ((key, *path) for path in _in_field(info, data[key]))


def _in_field(info: FieldInfo, value: Any) -> Iterator[Path]:
    inner = model_in(info.annotation)
    if value is None and not info.is_required() and info.default is None:
        yield ()
    elif inner is not None:
        yield from empty_keys(inner, value)
