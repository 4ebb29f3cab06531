"""What the store keeps of a run is read back as the run that was applied."""

from pathlib import Path

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus
from acereason_operator.local.run_directory import RunDirectory


def a_run(**curate: object) -> AceReasonRun:
    return AceReasonRun.parse(
        {
            "apiVersion": "acereason.dev/v1alpha1",
            "kind": "AceReasonRun",
            "metadata": {"name": "demo"},
            "spec": {
                "model": {"path": "model"},
                "storage": {"directory": "store"},
                "stages": [
                    {"name": "data", "inputs": {"data": {"path": "d"}}, "curate": dict(curate)},
                    {"name": "sft", "sft": {}},
                ],
            },
        }
    )


@pytest.mark.parametrize(
    "curate",
    [{}, {"decontamination": None}, {"maxRows": 5}],
    ids=["defaults that spelled out would be refused", "a null that means something", "a value"],
)
def test_a_run_as_applied_is_read_back_the_same(tmp_path: Path, curate: dict[str, object]):
    directory = RunDirectory(tmp_path, "demo")
    with directory.locked():
        applied = directory.apply(a_run(**curate))
        assert directory.applied() == applied


def test_the_generation_rises_with_an_edit_and_only_then(tmp_path: Path):
    directory = RunDirectory(tmp_path, "demo")
    with directory.locked():
        generations = [
            directory.apply(run).metadata.generation
            for run in (a_run(), a_run(), a_run(maxRows=5), a_run(maxRows=5), a_run())
        ]
    assert generations == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("left", [None, "{"], ids=["missing", "damaged"])
def test_a_generation_is_never_given_twice(tmp_path: Path, left: str | None):
    directory = RunDirectory(tmp_path, "demo")
    with directory.locked():
        directory.apply(a_run())
        directory.write_status(RunStatus(observed_generation=7))
        (directory.path / "run.yaml").unlink()
        if left is not None:
            (directory.path / "run.yaml").write_text(left)
        assert directory.apply(a_run(maxRows=5)).metadata.generation == 8
