"""Builders of sources and stage files for tests of `prepare`."""

import json
import struct
from pathlib import Path
from typing import Any

from acereason_trainer.config.stage_file import StageFile

ROW = {"problem": "How much is one and one?", "answer": "2", "response": "Two."}


def a_dataset(path: Path, rows: int = 3) -> Path:
    """A JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({**ROW, "id": str(i)}) + "\n" for i in range(rows)))
    return path


def a_tokenizer(directory: Path) -> Path:
    """A directory with what a tokenizer is made of."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text("{}")
    (directory / "tokenizer_config.json").write_text("{}")
    return directory


def safetensors(size: int = 8) -> bytes:
    """A safetensors file with one tensor of `size` bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def a_model(directory: Path) -> Path:
    """A model in Hugging Face form."""
    a_tokenizer(directory)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "model.safetensors").write_bytes(safetensors())
    return directory


def a_stage_file(store: Path, *, attempt: int = 1, **changes: Any) -> StageFile:
    """An SFT stage `sft` of run `run`; changes by camelCase names."""
    content = {
        "run": "run",
        "stage": "sft",
        "attempt": attempt,
        "store": str(store),
        "settings": {"sft": {}},
        **changes,
    }
    return StageFile.parse_json(json.dumps(content))


def written(file: StageFile) -> Path:
    """The stage file in its attempt's directory."""
    path = Path(file.store) / file.work_dir / "stage.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(file.dump()))
    return path
