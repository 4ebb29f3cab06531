"""Digests of another version of the operator: compared with nothing, and taken over."""

from typing import Any

import pytest
from acereason_operator.planner import digests
from acereason_operator.planner.recipe import recipe_of
from acereason_trainer.config.stage_file import SEMANTICS, SEMANTICS_OF_PARTS, ResultRecord
from planner_builders import STAGES, Desk, a_dead_pod, a_run, done

HARMLESS = {"retention": {"keepStates": "all"}}
EVERY_KIND: list[dict[str, Any]] = [
    *STAGES,
    {"name": "hard", "curate": {"passRate": {}}, "inputs": {"data": {"path": "prompts.jsonl"}}},
    {"name": "code", "codeRL": {"maxResponseTokens": 4096}, "gpusPerNode": 8, "image": "trainer:1"},
    {"name": "exam", "evaluate": {"sets": [{"name": "a", "file": "a.jsonl"}]},
     "inputs": {"data": {"path": "exam"}}},
]  # fmt: skip
PINNED = "sha256:bf0537a9a45743de3d73f71f3a37f368f8cb9953424d5126bcfe42cf67cc07fb"


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A run whose SFT was begun by the version before this one."""
    monkeypatch.setattr(digests, "FORM", digests.FORM - 1)
    desk = Desk(a_run()).reaches("sft")
    monkeypatch.undo()
    return desk


@pytest.mark.parametrize("raised", ["FORM", SEMANTICS, SEMANTICS_OF_PARTS], ids=str)
def test_an_upgrade_and_a_harmless_edit_leave_what_runs_alone(
    raised: str | dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(a_run()).reaches("sft")
    if isinstance(raised, str):
        monkeypatch.setattr(digests, raised, digests.FORM + 1)
    else:
        for name, number in raised.items():
            monkeypatch.setitem(raised, name, number + 1)
    desk.edited(a_run(**HARMLESS))
    assert not desk.done_now()
    assert (desk.stage("sft").state, desk.stage("sft").key) == ("Running", "key-sft")
    assert desk.stage("prompts").message == "", "nobody edited it"


def test_an_edit_that_takes_a_part_away_is_an_edit_and_no_upgrade() -> None:
    desk = Desk(a_run()).reaches("sft")
    edited = {"name": "sft", "sft": {"loading": {"dtype": "float32"}}}
    desk.edited(a_run([STAGES[0], edited, *STAGES[2:]]))
    assert desk.stage("sft").key is None, "what runs is no longer wanted"


def test_what_was_imported_before_an_upgrade_is_read_after_it(desk: Desk) -> None:
    desk.ends("sft", a_dead_pod(0, result=done("key-sft")))
    data = desk.made["sft"].stage_file.inputs.data
    again = desk.made["math"].stage_file.inputs.data
    assert again == data
    assert again is not None
    assert again.artifact is not None


def test_an_upgrade_gives_no_stage_a_new_budget(desk: Desk) -> None:
    desk.ends("sft", a_dead_pod(1, result=ResultRecord(exit_code=1)))
    assert desk.stage("sft").spent.user == 1
    desk.edited(a_run(**HARMLESS))
    assert desk.stage("sft").spent.user == 1


def test_an_edit_after_the_first_look_of_a_new_version_counts(desk: Desk) -> None:
    desk.ends("sft", a_dead_pod(78))
    assert desk.stage("sft").state == "Failed"
    desk.edited(a_run([{**stage, "image": "trainer:2"} for stage in STAGES]))
    assert desk.stage("sft").state == "Preparing"


def test_what_digests_are_made_from_changes_with_their_form_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for numbers in (SEMANTICS, SEMANTICS_OF_PARTS):
        for name in numbers:
            monkeypatch.setitem(numbers, name, 0)
    run = a_run(EVERY_KIND, queue={"name": "gpus"}, storage={"claim": "runs"})
    recipe = recipe_of(run.spec)
    made = [
        (settings := recipe.digests[stage.name], digests.spec_digest(run.spec, stage, settings))
        for stage in run.spec.stages
    ]
    assert (digests.FORM, digests.digest_of(made)) == (5, PINNED), (
        "digests of the same file have changed: raise FORM in planner/digests.py, so that no"
        " attempt of a run is ended by the upgrade, and pin the new pair here"
    )
