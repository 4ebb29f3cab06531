"""Sources from outside become artifacts: from then on nothing mutable is read.

A file or directory is checked for what its kind needs, copied, and named by its tree digest. A hub
repository is fetched at its commit first. Random weights are not made here (that needs torch): the
artifact holds the model's config, the tokenizer and the seed, and the trainer's loader makes them.
"""

import json
from pathlib import Path
from typing import Literal

from acereason_trainer.artifacts.store import Store, files_at
from acereason_trainer.config.sources import (
    FROM_CONFIG,
    ArtifactRef,
    FromConfig,
    HubSource,
    ResolvedSource,
)
from acereason_trainer.prepare.checks import (
    BadSource,
    check_config,
    check_data,
    check_model,
    tokenizer_files,
)

SourceKind = Literal["model", "data"]

MODEL_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "*.txt"]
"""What is fetched of a model repository: weights in another form than safetensors can run code."""
DATA_PATTERNS = ["*.jsonl", "*.parquet"]

_SERVER_ERROR = 500
"""From this HTTP status on it is the hub's fault, and may be over later."""
_PASSES = (408, 429)
"""Statuses below it that pass, too: too slow, and too many requests."""


class NotDownloaded(Exception):
    """A hub repository that is not on this machine, where nothing may be downloaded."""


def import_source(
    store: Store, source: ResolvedSource, kind: SourceKind, *, download: bool = True
) -> ArtifactRef:
    """The artifact of a source that is none yet, verified.

    Raises BadSource with one sentence for a source that cannot be used, NotDownloaded only without
    `download`, StoreFull, and OSError where the store cannot be read or written.
    """
    if source.path is not None:
        return _import_path(store, Path(source.path), kind, source.path)
    if source.hub is not None:
        directory = _fetch(source.hub, kind, download=download)
        return _import_path(store, directory, kind, f"hub {source.hub.id}@{source.hub.revision}")
    if source.from_config is not None and kind == "model":
        return _import_from_config(store, source.from_config)
    raise BadSource(f"{kind}: only a model can be made from a config")


def _import_path(store: Store, path: Path, kind: SourceKind, origin: str) -> ArtifactRef:
    try:
        files = files_at(path)
        if odd := [name for name, file in files.items() if not file.is_file()]:
            raise BadSource(f"{path}: {odd[0]} is no file (a broken link, a pipe?); remove it")
        (check_model if kind == "model" else check_data)(path, files)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadSource(f"{path} does not exist; paths are relative to the run file") from error
    except PermissionError as error:
        raise BadSource(f"{error.filename} may not be read by this user") from error
    return store.import_files(files, kind=kind, origin=origin)


def _fetch(source: HubSource, kind: SourceKind, *, download: bool) -> Path:
    name = f"hub {source.id}@{source.revision}"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )

        # Whichever of httpx and httpx2 it asks with.
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]
    except ModuleNotFoundError as error:
        raise BadSource(
            f"{name} needs the package huggingface_hub, which is not installed here; install it, "
            "or download the repository and give its directory as path"
        ) from error
    try:
        return Path(
            snapshot_download(
                source.id,
                revision=source.revision,
                repo_type="model" if kind == "model" else "dataset",
                allow_patterns=MODEL_PATTERNS if kind == "model" else DATA_PATTERNS,
                local_files_only=not download,
            )
        )
    except LocalEntryNotFoundError as error:
        if not download:
            raise NotDownloaded(f"{name} is not downloaded yet") from error
        raise ConnectionError(
            f"{name} is not in this machine's cache and the hub cannot be reached; download it "
            "where there is a network and give its directory as path"
        ) from error
    except HFValidationError as error:
        raise BadSource(f"{name} names no repository: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status is not None and (status >= _SERVER_ERROR or status in _PASSES):
            raise
        raise BadSource(f"{name} was refused: {str(error).splitlines()[0]}") from error
    except httpx.TransportError as error:
        raise ConnectionError(f"{name}: the connection to the hub broke: {error}") from error


def _import_from_config(store: Store, source: FromConfig) -> ArtifactRef:
    config, tokenizer = Path(source.config), Path(source.tokenizer)
    check_config(config)
    files: dict[str, Path | bytes] = {
        **tokenizer_files(tokenizer),
        "config.json": config,
        FROM_CONFIG: json.dumps({"seed": source.seed}).encode() + b"\n",
    }
    origin = f"random weights of {config}, seed {source.seed}"
    return store.import_files(files, kind="model", origin=origin)
