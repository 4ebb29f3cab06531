"""What is derived from the models: JSON Schema of a run file, its reference page, the CRD.

python -m acereason_operator.api.schema      # writes them, from the root of the repository
"""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from acereason_operator.api.crd import CRD_FILE, crd_text
from acereason_operator.api.reference import reference
from acereason_operator.api.run import GROUP, KIND, VERSION, AceReasonRun

SCHEMA_FILE = Path("docs/generated/acereasonrun.schema.json")
REFERENCE_FILE = Path("docs/reference.md")


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an AceReasonRun: outside names, every description."""
    schema = AceReasonRun.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"https://{GROUP}/schemas/{VERSION}/{KIND.lower()}.json",
        **schema,
    }


def generated() -> dict[Path, str]:
    """The text of each generated file, by its path below the root of the repository."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {SCHEMA_FILE: schema, REFERENCE_FILE: reference(), CRD_FILE: crd_text()}


def write(root: Path) -> None:
    """Write the generated files below the root of the repository."""
    for file, text in generated().items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
