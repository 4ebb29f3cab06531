"""Runs as the planner wants them, from what the API server holds.

The CRD's schema refuses what is wrong, yet an older CRD may have let something through, and a newer
operator may have written the status: both are read with care, and what cannot be read has a
sentence.
"""

from collections import OrderedDict
from dataclasses import dataclass

from pydantic import ValidationError

from acereason_operator.api.load import read_run
from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus
from acereason_operator.api.yaml_loader import Document
from acereason_operator.cluster.protocol import Object
from acereason_operator.runtime.seen import RunKey, name_of


@dataclass(frozen=True)
class Unreadable:
    """A spec that this version of the operator cannot read."""

    sentence: str


class UnreadableStatus(Exception):
    """A status that this version of the operator cannot read; it is left as it is."""


class RunReader:
    """Reads runs; a spec is parsed once for each of its generations."""

    def __init__(self, keep: int = 256) -> None:
        """keep: parsed specs that are held, the least used go first. 256, since parsing one costs a
        few milliseconds and holding one about 100 KiB: more runs than that rarely change at
        once."""
        self._keep = keep
        self._parsed: OrderedDict[RunKey, tuple[str, int, AceReasonRun | Unreadable]] = (
            OrderedDict()
        )

    def __len__(self) -> int:
        """Parsed specs that are held."""
        return len(self._parsed)

    def run(self, whole: Object) -> AceReasonRun | Unreadable:
        """The spec with the metadata that the planner uses."""
        metadata, key = whole["metadata"], name_of(whole)
        uid, generation, parsed = self._parsed.get(key, ("", 0, None))
        if parsed is None or (uid, generation) != (metadata["uid"], metadata["generation"]):
            parsed = _parsed(whole)
            self._parsed[key] = metadata["uid"], metadata["generation"], parsed
            while len(self._parsed) > self._keep:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end(key)
        return parsed

    def forget(self, run: RunKey) -> None:
        """A run that is gone is not held."""
        self._parsed.pop(run, None)


def status_of(whole: Object) -> RunStatus:
    """The status; an empty one on the first visit. Raises UnreadableStatus."""
    try:
        return RunStatus.parse(whole.get("status") or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableStatus(
            f"status.{where} cannot be read ({first['msg']}): a newer operator may have written it;"
            " run that one, or delete the status"
        ) from error


def _parsed(whole: Object) -> AceReasonRun | Unreadable:
    data = {name: value for name, value in whole.items() if name != "status"}
    try:
        return AceReasonRun.parse(data)
    except ValidationError:
        problems = read_run(Document("", data)).problems
        told = "; ".join(str(problem).removeprefix(": ") for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Unreadable(f"{told}{more}")
