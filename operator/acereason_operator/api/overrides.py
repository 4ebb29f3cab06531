"""`--set PATH=VALUE` and `--values FILE`: changes to a run that are not in its file, as in Helm.

A path starts at `spec` (which may be left out) and names stages by their names:
`stages.math-8k.mathRL.stop.steps=10`, `defaults.env[0].value=1`, `perEpoch={0.6,0.8}`. Values are
read as YAML reads them; `null` removes a key; `\\,` and `\\.` stand for the characters themselves.
A values file is a partial run: maps are merged, stages by name, other lists replaced, null removes.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from acereason_trainer.config.problems import Path, Problem, path_text

from acereason_operator.api.yaml_loader import Document, Origin, load_documents, read_scalar

_TOP_KEYS = {"apiVersion", "kind", "metadata", "spec"}
_FARTHEST_INDEX = 255


class OverrideError(ValueError):
    """An override that cannot be applied; the text names its bad key."""


def apply_overrides(document: Document, sets: list[str], values_files: list[FilePath]) -> Document:
    """The document with values files merged in order, then `--set`s, as in Helm.

    The document given is left as it is. What cannot be applied stands in `problems`.
    """
    changed = replace(
        document,
        data=copy.deepcopy(document.data),
        origins=dict(document.origins),
        problems=list(document.problems),
    )
    if not isinstance(changed.data, dict):
        return changed
    for file in values_files:
        _merge_file(changed, file)
    for text in sets:
        try:
            for assignment in _assignments(text):
                _set(changed, *assignment, Origin(f"--set {text}", None))
        except OverrideError as error:
            changed.problems.append(Problem(f"--set {text}", None, "", str(error)))
    return changed


def _assignments(text: str) -> Iterator[tuple[Path, Any]]:
    """`a.b=1,c={x,y}` as ((a, b), 1) and ((c,), ["x", "y"])."""
    for part in _split(text, ","):
        left, found, right = part.partition("=")
        if not found:
            raise OverrideError(f"{part!r} has no `=`; write path=value")
        yield _path(left.strip()), _value(right)


def _split(text: str, separator: str) -> list[str]:
    """Parts between unescaped separators that stand outside braces and brackets."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] in "{[":
            depth += 1
        elif text[i] in "}]":
            depth -= 1
        elif text[i] == separator and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
        i += 1
    return [*parts, text[start:]]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _path(text: str) -> Path:
    path: list[str | int] = []
    for part in _split(text, "."):
        match = re.fullmatch(r"((?:\\.|[^\[\]\\])+)((?:\[[0-9]+\])*)", part)
        if match is None:
            raise OverrideError(
                f"{text!r} is not a path at {part!r}; write keys with dots between them, as in "
                "spec.stages[0].name or stages.math-8k.mathRL.stop.steps"
            )
        path.append(_unescape(match[1]))
        path.extend(int(index) for index in re.findall(r"\d+", match[2]))
    return tuple(path) if path[0] in _TOP_KEYS else ("spec", *path)


def _value(text: str) -> Any:
    if text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
        return [_value(part) for part in _split(inner, ",")] if inner else []
    return read_scalar(_unescape(text))


def _set(document: Document, path: Path, value: Any, origin: Origin) -> None:
    path = _stages_by_index(document, path)
    holder = document.data
    for i, part in enumerate(path[:-1]):
        fresh: Any = [] if isinstance(path[i + 1], int) else {}
        holder = _enter(holder, part, path[:i], fresh)
    last = path[-1]
    _enter(holder, last, path[:-1], None)
    _forget_origins(document, path)
    if value is None and isinstance(last, str):
        del holder[last]
        return
    holder[last] = value
    document.origins[path] = origin


def _enter(holder: Any, part: str | int, at: Path, fresh: Any) -> Any:
    """The value at one part of a path, made where it is missing."""
    where = path_text(at) or "the run"
    if isinstance(part, str):
        if not isinstance(holder, dict):
            raise OverrideError(f"{where} holds {_kind(holder)}; it has no key {part}")
        if holder.get(part) is None:
            holder[part] = fresh
    else:
        if not isinstance(holder, list):
            raise OverrideError(f"{where} holds {_kind(holder)}; it has no item [{part}]")
        if part > min(len(holder), _FARTHEST_INDEX):
            raise OverrideError(f"{where} has {len(holder)} items; [{part}] would leave a gap")
        if part == len(holder):
            holder.append(fresh)
    return holder[part]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "named keys"
    if isinstance(value, list):
        return "a list"
    return f"the value {value!r}"


def _stages_by_index(document: Document, path: Path) -> Path:
    """`spec.stages.NAME...` with the stage's index in the place of its name."""
    if path[:2] != ("spec", "stages") or len(path) < 3 or isinstance(path[2], int):
        return path
    names = _stage_names(document)
    if path[2] not in names:
        raise OverrideError(
            f"there is no stage {path[2]}; the stages are {', '.join(map(str, names)) or 'none'}"
        )
    return ("spec", "stages", names.index(path[2]), *path[3:])


def _stage_names(document: Document) -> list[Any]:
    spec = document.data.get("spec")
    stages = spec.get("stages") if isinstance(spec, dict) else None
    listed = stages if isinstance(stages, list) else []
    return [s.get("name") if isinstance(s, dict) else None for s in listed]


def _merge_file(document: Document, file: FilePath) -> None:
    try:
        parts = load_documents(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        document.problems.append(
            Problem(
                str(file),
                None,
                "",
                f"cannot be read ({error.strerror}); --values needs a YAML file",
            )
        )
        return
    except UnicodeDecodeError as error:
        document.problems.append(Problem(str(file), None, "", f"is not UTF-8 text: {error.reason}"))
        return
    for part in parts:
        document.problems.extend(part.problems)
        if isinstance(part.data, dict):
            _merge(document, part, (), ())
        elif not part.problems:
            document.problems.append(
                part.problem((), "a values file holds a part of a run, as in spec: {seed: 1}")
            )


def _merge(document: Document, part: Document, at: Path, source: Path) -> None:
    """Merge the map at `source` of a values file into the map at `at` of the run."""
    target, given = _at(document.data, at), _at(part.data, source)
    for key, value in given.items():
        here, there = (*at, key), (*source, key)
        if here == ("spec", "stages") and isinstance(value, list):
            _merge_stages(document, part, value)
        elif value is None:
            target.pop(key, None)
            _forget_origins(document, here)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(document, part, here, there)
        else:
            _forget_origins(document, here)
            target[key] = copy.deepcopy(value)
            document.origins.update(
                (here + path[len(there) :], origin)
                for path, origin in part.origins.items()
                if path[: len(there)] == there
            )


def _merge_stages(document: Document, part: Document, stages: list[Any]) -> None:
    names = _stage_names(document)
    for i, stage in enumerate(stages):
        source = ("spec", "stages", i)
        name = stage.get("name") if isinstance(stage, dict) else None
        if name is None or name not in names:
            document.problems.append(
                part.problem(
                    source,
                    f"merges into no stage (name: {name}); name one of: "
                    f"{', '.join(map(str, names)) or 'none'}",
                )
            )
            continue
        _merge(document, part, ("spec", "stages", names.index(name)), source)


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _forget_origins(document: Document, path: Path) -> None:
    for known in [p for p in document.origins if p[: len(path)] == path]:
        del document.origins[known]
