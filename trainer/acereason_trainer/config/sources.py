"""Where models and data come from before they are artifacts."""

from typing import Annotated

from pydantic import Field

from acereason_trainer.config.forms import DIGEST, STAGE_NAME
from acereason_trainer.config.model import Model
from acereason_trainer.config.one_of import OneOf

Digest = Annotated[str, Field(pattern=DIGEST)]
StageName = Annotated[str, Field(pattern=STAGE_NAME)]
"""A DNS label of at most 40 characters: Job, Service and pod names are made from it."""


class HubSource(Model):
    """A model or dataset on a model hub, pinned to a commit."""

    id: str = Field(min_length=1, max_length=256)
    """Repository on the hub, as `owner/name`."""
    revision: str = Field(min_length=1, max_length=128)
    """Commit hash (a branch name moves, so the run imports what it is on the first day)."""


class ArtifactRef(Model):
    """A published artifact: where it is and what it must hash to."""

    uri: str = Field(min_length=1, max_length=1024)
    """Directory of the artifact, below the store (`artifacts/<key>`) or absolute."""
    digest: Digest
    """Tree digest that its manifest must show."""


FROM_CONFIG = "from_config.json"
"""`{"seed": n}` in a model artifact without weights: the trainer's loader makes them."""


class FromConfig(Model):
    """A model made from random weights: for tests and the quickstart."""

    config: str = Field(min_length=1, max_length=1024)
    """Path of a transformers `config.json`, relative to the run file on a laptop."""
    tokenizer: str = Field(min_length=1, max_length=1024)
    """Directory of a transformers tokenizer, relative to the run file on a laptop. One that is not
    Qwen's own wants another `model_type` than `qwen2` (for example `llama`): AutoTokenizer and
    vLLM's server would read the published model's text as Qwen's."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random weights."""


class ModelSource(OneOf):
    """The base model: exactly one member."""

    hub: HubSource | None = None
    """A repository on the hub."""
    path: str | None = Field(default=None, min_length=1, max_length=1024)
    """A directory in Hugging Face form, relative to the run file on a laptop."""
    artifact: ArtifactRef | None = None
    """An artifact of this store, for example the result of another run."""
    from_config: FromConfig | None = None
    """Random weights."""


class Source(OneOf):
    """What a stage reads: exactly one member."""

    stage: StageName | None = None
    """The result of another stage of this run; it must be among `needs`, directly or further up."""
    artifact: ArtifactRef | None = None
    """An artifact of this store."""
    path: str | None = Field(default=None, min_length=1, max_length=1024)
    """A file or directory, relative to the run file on a laptop."""
    hub: HubSource | None = None
    """A repository on the hub."""


MOST_HELD_OUT = 16
"""As many as fit, by name and digest, into the 4 KiB of a prepare record beside all else."""


class Inputs(Model):
    """What a stage reads. Whatever is left out is the newest of its kind along `needs`."""

    model: Source | None = None
    """The checkpoint to start from. Default: the newest model along `needs`, else `spec.model`."""
    data: Source | None = None
    """The dataset. Default: the newest dataset along `needs`."""
    held_out: list[Source] = Field(default_factory=list, max_length=MOST_HELD_OUT)
    """Datasets that this stage's rows must not overlap with (evaluation sets): `curate` only. A
    directory is one dataset, however many files it holds."""
    validation: Source | None = None
    """Problems for the plateau rule and for curves inside an RL stage."""


class ResolvedSource(OneOf):
    """An input as a stage file names it: an artifact already, or something to import first.

    Paths are absolute here. Exactly one member.
    """

    artifact: ArtifactRef | None = None
    """A published artifact."""
    path: str | None = None
    """A file or directory to import."""
    hub: HubSource | None = None
    """A hub repository to import."""
    from_config: FromConfig | None = None
    """Random weights to make and import."""
