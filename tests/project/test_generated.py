"""What is generated is what is committed."""

from pathlib import Path

import pytest
from acereason_operator.api import schema
from acereason_trainer.policy import memory_page
from acereason_trainer.telemetry import metrics_page

from charts.dashboards import __main__ as dashboards

ROOT = Path(__file__).parents[2]
GENERATED = {
    **schema.generated(),
    **dashboards.generated(),
    metrics_page.PAGE: metrics_page.page(),
    memory_page.PAGE: memory_page.page(),
}


@pytest.mark.parametrize("file", GENERATED, ids=str)
def test_a_generated_file_is_fresh(file: Path) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == GENERATED[file], "run: make generate"
