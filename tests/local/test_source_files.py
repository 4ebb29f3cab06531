"""A source counts as changed when its files look different, whichever way their times moved."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.local.run_directory import RunDirectory
from acereason_operator.local.source_files import FILE, SourceFiles, keep, look
from acereason_operator.planner.context import Context


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The sources of a run: a file, a directory, and what random weights are made from."""
    (tmp_path / "train.jsonl").write_text("old content")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.jsonl").write_text("a")
    (tmp_path / "tests" / "b.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    (tmp_path / "elsewhere.jsonl").write_text("b")
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    return tmp_path


def seen(sources: Path) -> SourceFiles:
    """What a start of the run sees."""
    inputs = {"data": {"path": "train.jsonl"}, "heldOut": [{"path": "tests"}]}
    spec = {
        "model": {"fromConfig": {"config": "model.json", "tokenizer": "tokenizer"}},
        "storage": {"directory": "store"},
        "stages": [{"name": "data", "curate": {}, "inputs": inputs}, {"name": "sft", "sft": {}}],
    }
    context = Context(store="store", resolve=lambda path: str(sources / path))
    run = RunDirectory(sources / "store", "demo")
    run.path.mkdir(parents=True, exist_ok=True)
    return look(run, AceReasonRunSpec.parse(spec), context)


def start(sources: Path) -> None:
    """A start of the run."""
    keep(RunDirectory(sources / "store", "demo"), seen(sources))


def changed(sources: Path) -> set[str]:
    """Sources that the next start would find changed."""
    found = seen(sources)
    return {Path(path).name for path in found.now if found.changed(path)}


def an_older_copy(root: Path) -> None:
    (root / "train.jsonl").write_text("new content")
    os.utime(root / "train.jsonl", (1, 1))


def another_size_at_the_same_time(root: Path) -> None:
    time = (root / "train.jsonl").stat().st_mtime_ns
    (root / "train.jsonl").write_text("longer content")
    os.utime(root / "train.jsonl", ns=(time, time))


def a_hidden_file(root: Path) -> None:
    (root / "tests" / ".git").mkdir()
    (root / "tests" / ".git" / "index").write_text("")


def a_damaged_record(root: Path) -> None:
    (root / "store" / "runs" / "demo" / FILE).write_text('{"/x": ')


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda root: None, set()),
        (an_older_copy, {"train.jsonl"}),
        (another_size_at_the_same_time, {"train.jsonl"}),
        (lambda root: (root / "tests" / "c.jsonl").write_text("c"), {"tests"}),
        (lambda root: (root / "tests" / "a.jsonl").unlink(), {"tests"}),
        (lambda root: (root / "elsewhere.jsonl").write_text("b2"), {"tests"}),
        (lambda root: (root / "elsewhere.jsonl").unlink(), {"tests"}),
        (lambda root: (root / "tokenizer" / "tokenizer.json").write_text("{ }"), {"tokenizer"}),
        (lambda root: (root / "model.json").write_text("{ }"), {"model.json"}),
        (a_hidden_file, set()),
        (lambda root: (root / "train.jsonl").unlink(), set()),
        (lambda root: shutil.rmtree(root / "tests"), set()),
        (a_damaged_record, {"train.jsonl", "tests", "model.json", "tokenizer"}),
    ],
    ids=[
        "nothing",
        "a copy with an older time",
        "another size at the same time",
        "one file more",
        "one file less",
        "what a link leads to",
        "a link that leads nowhere now",
        "a tokenizer",
        "a config",
        "a hidden file, which is not imported",
        "gone: it is in the store",
        "a whole directory gone",
        "nothing is known: everything is read again",
    ],
)
def test_a_source_is_changed_when_it_looks_different(
    sources: Path, change: Callable[[Path], object], names: set[str]
) -> None:
    start(sources)
    change(sources)
    assert changed(sources) == names
    start(sources)
    assert changed(sources) == set()


def test_a_source_that_was_away_is_compared_with_what_it_was_before(sources: Path) -> None:
    start(sources)
    (sources / "train.jsonl").rename(sources / "aside")
    start(sources)
    (sources / "aside").rename(sources / "train.jsonl")
    assert changed(sources) == set()
    (sources / "train.jsonl").write_text("other")
    assert changed(sources) == {"train.jsonl"}
