"""Everything that is wrong with data for a model, in one reading.

pydantic stops early in one way: a rule between the fields of a model is not looked at while one of
its fields is broken. So what is broken is cut out, defaults take its place, and the rest is read
again, until nothing is left to cut. What only follows from a cut is not reported.
"""

import copy
import re
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from acereason_trainer.config.model import Combination, Model, SeveralMembers
from acereason_trainer.config.problems import Path
from acereason_trainer.config.sentences import sentence, suggestion


class Fault(NamedTuple):
    """One thing that is wrong."""

    path: Path
    """From the top of the data."""
    message: str
    """What is wrong and what would be right."""


class _Nothing(ValueError):
    """No validator raises it."""


def faults_of(model: type[Model], data: Any, left_out: type[ValueError] = _Nothing) -> list[Fault]:
    """Every fault of `data` as a `model`, but for a validator's errors of type `left_out`."""
    rest = _Rest(data)
    faults: list[Fault] = []
    missing: list[Fault] = []
    meant: set[Path] = set()
    going_on = True
    while going_on:
        errors = [e for e in _errors(model, rest.data) if not isinstance(_cause(e), left_out)]
        cuts = list(rest.cuts)
        for error in errors:
            path = rest.original(error["loc"])
            about = _about(error, path)
            if any(_follows(error, one, cut) for one in about for cut in cuts):
                continue
            several = isinstance(_cause(error), SeveralMembers)
            fault = Fault(path if several else about[0], sentence(error, model))
            found = missing if error["type"] == "missing" else faults
            if fault not in found:
                found.append(fault)
            if error["type"] == "extra_forbidden" and (name := suggestion(path, model)):
                meant.add((*path[:-1], name))
        going_on = _cut(rest, errors)
    return faults + [fault for fault in missing if fault.path not in meant]


def _errors(model: type[Model], data: Any) -> list[ErrorDetails]:
    try:
        model.parse(data)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _cause(error: ErrorDetails) -> Any:
    return error.get("ctx", {}).get("error")


def _about(error: ErrorDetails, path: Path) -> list[Path]:
    """The places that an error is about."""
    cause = _cause(error)
    if isinstance(cause, Combination) and cause.fields:
        return [path + _parts(name) for name in cause.fields]
    return [path]


def _parts(name: str) -> Path:
    """`env[1].name` as ("env", 1, "name")."""
    return tuple(int(p) if p.isdigit() else p for p in re.findall(r"[^.\[\]]+", name))


def _follows(error: ErrorDetails, place: Path, cut: Path) -> bool:
    """Whether an error about a place may be there only because of a cut."""
    if isinstance(_cause(error), SeveralMembers):
        return place[: len(cut)] == cut
    shorter = min(len(place), len(cut))
    return place[:shorter] == cut[:shorter]


def _cut(rest: "_Rest", errors: list[ErrorDetails]) -> bool:
    """Cut out what the errors are about; whether anything was."""
    # A missing field has nothing to cut but what holds it, so it waits until nothing else is wrong;
    # then the innermost holders go first. Members that are too many go last, looked at inside.
    several = [error for error in errors if isinstance(_cause(error), SeveralMembers)]
    others = [error for error in errors if not isinstance(_cause(error), SeveralMembers)]
    present = [error for error in others if error["type"] != "missing"]
    deepest = max((len(error["loc"]) for error in others), default=0)
    missing = [error for error in others if len(error["loc"]) == deepest]
    places = [
        (_about(error, path), path)
        for error in present or missing or several
        for path in [rest.original(error["loc"])]
    ]
    done = False
    for about, path in places:
        cut = [rest.cut(one) for one in about].count(True) > 0
        while not cut and path:
            cut = rest.cut(path)
            path = path[:-1]  # noqa: PLW2901
        done = done or cut
    return done


class _Rest:
    """Data with parts cut out, addressed by the places they had before."""

    def __init__(self, data: Any) -> None:
        self.data = copy.deepcopy(data)
        self.cuts: list[Path] = []
        self._kept: dict[Path, list[int]] = {}

    def original(self, location: tuple[str | int, ...]) -> Path:
        """Where a place in `data` was before anything was cut."""
        path: Path = ()
        for part in location:
            kept = self._kept.get(path, [])
            known = isinstance(part, int) and part < len(kept)
            path = (*path, kept[int(part)] if known else part)
        return path

    def cut(self, path: Path) -> bool:
        """Take the value at a place out; False where there is none."""
        holder = self.data
        for i, part in enumerate(path):
            here = self._position(holder, path[:i], part)
            if here is None:
                return False
            if i == len(path) - 1:
                del holder[here]
                if isinstance(here, int):
                    self._kept[path[:i]].pop(here)
                self.cuts.append(path)
                return True
            holder = holder[here]
        return False

    def _position(self, holder: Any, path: Path, part: str | int) -> str | int | None:
        if isinstance(holder, dict) and part in holder:
            return part
        if isinstance(holder, list) and isinstance(part, int):
            kept = self._kept.setdefault(path, list(range(len(holder))))
            return kept.index(part) if part in kept else None
        return None
