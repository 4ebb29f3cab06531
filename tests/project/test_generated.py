"""What is generated from the models is what is committed."""

from pathlib import Path

import pytest
from acereason_operator.api.schema import generated

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", list(generated()), ids=str)
def test_a_generated_file_is_fresh(file: Path) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == generated()[file], "run: make generate"
