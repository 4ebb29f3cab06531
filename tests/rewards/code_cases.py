"""The cases of code_cases.yaml, for the tests that use them: each says what it pins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Case = Mapping[str, Any]
"""A line of `acereason grade` without id and kind; `verdict` must come of it, `pins` says why."""


def code_cases() -> list[Case]:
    """All of them, in the order of the file."""
    text = Path(__file__).with_name("code_cases.yaml").read_text(encoding="utf-8")
    cases: list[Case] = yaml.safe_load(text)
    return cases
