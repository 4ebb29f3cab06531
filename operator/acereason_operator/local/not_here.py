"""What a run file says for a cluster and this machine ignores, or cannot do."""

from collections.abc import Iterator
from pathlib import Path

from acereason_operator.api.run import AceReasonRunSpec, Overrides


class NoStoreHere(Exception):
    """The run's storage needs a cluster."""


def store_of(spec: AceReasonRunSpec, base: Path, given: Path | None) -> Path:
    """Absolute path of the run's store: `given`, else `spec.storage.directory` below `base`.

    Raises NoStoreHere.
    """
    if given is not None:
        return given.resolve()
    if spec.storage.directory is not None:
        return (base / spec.storage.directory).resolve()
    (kind,) = spec.storage.dump()
    raise NoStoreHere(f"spec.storage.{kind} needs a cluster; give a directory with --store DIR")


def ignored(spec: AceReasonRunSpec) -> list[str]:
    """Fields that are set and mean nothing on one machine, each once, by its path."""
    names = [f"spec.defaults.{name}" for name in _of_overrides(spec.defaults)]
    for stage in spec.stages:
        names += [f"stages.{stage.name}.{name}" for name in _of_overrides(stage)]
    return names + (["spec.queue"] if spec.queue is not None else [])


def _of_overrides(given: Overrides) -> Iterator[str]:
    if given.image is not None:
        yield "image"
    if (given.nodes or 1) > 1:
        yield "nodes"
    if given.gpus_per_node:
        yield "gpusPerNode"
    if given.pod_template is not None:
        yield "podTemplate"
    if given.prepare_pod_template is not None:
        yield "preparePodTemplate"
    yield from (f"env.{variable.name}" for variable in given.env if variable.value_from)
