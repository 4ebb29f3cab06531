"""The figures on the project's pages are those of the committed results."""

from pathlib import Path

import pytest

from benchmarks.readme import PAGES, filled

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_pages_figures_are_those_of_the_committed_results(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert filled(page) == page.read_text(), "run make generate"
