"""Reads `stage.yaml`, which the planner wrote: YAML or JSON, every problem as one sentence."""

import json
from pathlib import Path

import yaml
from pydantic import ValidationError

from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.stage_file import StageFile


class BadStageFile(Exception):
    """A stage file is missing or is not one; the text says where and why."""


def read_stage_file(path: Path) -> StageFile:
    """The stage file at a path. Raises BadStageFile."""
    try:
        content = yaml_numbers.load(path.read_bytes())
    except OSError as error:
        raise BadStageFile(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise BadStageFile(f"{path} is not YAML: {where}") from error
    try:
        return StageFile.parse_json(json.dumps(content))
    except TypeError as error:  # a date, say: YAML has more than JSON
        raise BadStageFile(f"{path} is no stage file: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()
        )
        raise BadStageFile(f"{path} is no stage file: {problems}") from error
