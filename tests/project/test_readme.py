"""The README's figures are those of the committed results."""

from pathlib import Path

from benchmarks.readme import filled

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_figures_are_those_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(README.parent)
    assert filled(README.read_text()) == README.read_text(), "run make generate"
