"""Is a source what it is said to be? Found out in seconds here, not after an hour in a queue."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENIZER_MODELS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""Any of these holds a vocabulary."""
TOKENIZER_EXTRAS = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
)
_INDEX = "model.safetensors.index.json"
_PARQUET = b"PAR1"


class BadSource(Exception):
    """A source cannot be used; the text says why and what would be right."""


def check_model(path: Path, files: Mapping[str, Path]) -> None:
    """Raise BadSource unless the files are a whole Hugging Face model with its tokenizer."""
    if not path.is_dir():
        raise BadSource(f"{path} is a file; a model is a directory in Hugging Face form")
    if "config.json" not in files:
        raise BadSource(f"{path} has no config.json; a model is a directory in Hugging Face form")
    check_config(files["config.json"])
    if not any(name in files for name in TOKENIZER_MODELS):
        raise BadSource(f"{path} has no tokenizer; one of {', '.join(TOKENIZER_MODELS)} is needed")
    weights = [name for name in files if name.endswith(".safetensors")]
    if not weights:
        raise BadSource(f"{path} has no .safetensors weights; convert the model with safetensors")
    if _INDEX in files:
        index = _json_object(files[_INDEX]).get("weight_map")
        if not isinstance(index, dict):
            raise BadSource(f"{files[_INDEX]} has no weight_map; copy it again")
        if missing := sorted(set(index.values()) - set(weights)):
            raise BadSource(f"{path} lacks {missing[0]}, which {_INDEX} names; copy it again")
    for name in weights:
        _check_safetensors(files[name])


def check_config(path: Path) -> None:
    """Raise BadSource unless the file is a transformers config."""
    if not path.is_file():
        raise BadSource(f"{path} does not exist; it must be a transformers config.json")
    if "model_type" not in _json_object(path):
        raise BadSource(f"{path} has no model_type; it must be a transformers config.json")


def tokenizer_files(directory: Path) -> dict[str, Path]:
    """The files of a directory that make its tokenizer. Raises BadSource where there is none."""
    if not directory.is_dir():
        raise BadSource(f"{directory} is not a directory; it must hold a transformers tokenizer")
    names = (*TOKENIZER_MODELS, *TOKENIZER_EXTRAS)
    found = {name: directory / name for name in names if (directory / name).is_file()}
    if not any(name in found for name in TOKENIZER_MODELS):
        raise BadSource(
            f"{directory} has no tokenizer; one of {', '.join(TOKENIZER_MODELS)} is needed"
        )
    return found


def check_data(path: Path, files: Mapping[str, Path]) -> None:
    """Raise BadSource unless there are rows in a form that is read: JSONL or parquet."""
    rows = {n: f for n, f in files.items() if f.name.endswith((".jsonl", ".parquet"))}
    if not rows:
        raise BadSource(f"{path} holds no .jsonl or .parquet file; convert the data to one of them")
    for file in rows.values():
        (_check_jsonl if file.name.endswith(".jsonl") else _check_parquet)(file)


def _check_safetensors(path: Path) -> None:
    """The header says where the last tensor ends; a cut download ends before."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise BadSource(f"{path} is cut or no safetensors file; copy it again")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadSource(f"{path} is no safetensors file; copy it again") from error
    if size != 8 + length + max(ends, default=0):
        raise BadSource(f"{path} is cut: its header promises more than its {size:,} bytes")


def _check_jsonl(path: Path) -> None:
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    if not first:
        raise BadSource(f"{path} is empty; it needs one JSON object per line")
    try:
        row = json.loads(first)
    except ValueError as error:
        raise BadSource(f"{path} is not JSONL ({error}); each line must be an object") from error
    if not isinstance(row, dict):
        raise BadSource(f"{path} is not JSONL: its first line is no object")


def _check_parquet(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, path.stat().st_size - 4))
        if start != _PARQUET or file.read(4) != _PARQUET:
            raise BadSource(f"{path} is cut or no parquet file; copy it again")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadSource(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadSource(f"{path} is not a JSON object")
    return content
