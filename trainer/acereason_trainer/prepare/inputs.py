"""The inputs of a stage by their names, from the stage file to verified artifacts."""

from collections.abc import Iterator
from dataclasses import dataclass

from acereason_trainer.artifacts.errors import Corrupt, NotFound
from acereason_trainer.artifacts.store import Store
from acereason_trainer.config.sources import ArtifactRef, ResolvedSource
from acereason_trainer.config.stage_file import PreparedInputs, StageInputs
from acereason_trainer.prepare.checks import BadSource
from acereason_trainer.prepare.sources import SourceKind, import_source


class CorruptInput(Exception):
    """An artifact that a stage reads is not what it must be."""

    def __init__(self, name: str, why: Corrupt | NotFound) -> None:
        super().__init__(f"input {name}: {why}")
        self.name = name


@dataclass(frozen=True)
class Named:
    """One input."""

    name: str
    """`model`, `data`, `heldOut[0]`, `validation`: as records and messages call it."""
    kind: SourceKind
    """What it must be."""
    source: ResolvedSource
    """Where it comes from."""


def named_inputs(inputs: StageInputs) -> Iterator[Named]:
    """Each input that the stage file gives."""
    if inputs.model is not None:
        yield Named("model", "model", inputs.model)
    if inputs.data is not None:
        yield Named("data", "data", inputs.data)
    for i, source in enumerate(inputs.held_out):
        yield Named(f"heldOut[{i}]", "data", source)
    if inputs.validation is not None:
        yield Named("validation", "data", inputs.validation)


def as_artifacts(store: Store, inputs: StageInputs, *, download: bool) -> PreparedInputs:
    """Import what is not an artifact yet; artifacts are taken at their word until `verified`.

    Raises BadSource, whose sentence names the input, and NotDownloaded without `download`.
    """
    refs = {}
    for named in named_inputs(inputs):
        try:
            refs[named.name] = named.source.artifact or import_source(
                store, named.source, named.kind, download=download
            )
        except BadSource as error:
            raise BadSource(f"input {named.name}: {error}") from error
    return PreparedInputs(
        model=refs.get("model"),
        data=refs.get("data"),
        held_out=[ref for name, ref in refs.items() if name.startswith("heldOut")],
        validation=refs.get("validation"),
    )


def verify(store: Store, inputs: StageInputs) -> None:
    """Hash every byte of every artifact that was taken at its word, each once.

    Imports are verified already. Raises CorruptInput with the input's name, or BadSource where an
    artifact is of the wrong kind.
    """
    seen: set[ArtifactRef] = set()
    for named in named_inputs(inputs):
        ref = named.source.artifact
        if ref is None:
            continue
        try:
            manifest = store.manifest(ref.uri) if ref in seen else store.verify(ref)
        except (Corrupt, NotFound) as why:
            raise CorruptInput(named.name, why) from why
        if manifest.kind != named.kind:
            raise BadSource(
                f"input {named.name}: {ref.uri} holds {manifest.kind}; {named.kind} is needed"
            )
        seen.add(ref)
