"""Which stages may start, and what each reads."""

from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.planner.actions import CreateJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.inputs import stage_inputs
from acereason_operator.planner.recipe import recipe_of
from acereason_operator.planner.times import rfc3339
from acereason_trainer.config.stage_file import (
    PreparedInputs,
    PrepareRecord,
    ResultRecord,
    StageFile,
)
from planner_builders import (
    CLUSTER,
    CURATE,
    LAPTOP,
    STAGES,
    Desk,
    a_dead_pod,
    a_run,
    digest,
    done,
    prepared,
    published,
    ref,
)

SETS = {"sets": [{"name": "aime", "file": "aime.jsonl"}]}
PROMPTS = {"name": "prompts", "curate": CURATE, "inputs": {"data": {"path": "p.jsonl"}}}
DIAMOND: list[dict[str, Any]] = [
    PROMPTS,
    {"name": "sft", "sft": {}},
    {"name": "left", "mathRL": {}, "needs": ["sft"]},
    {"name": "right", "mathRL": {}, "needs": ["sft"]},
    {"name": "eval", "evaluate": SETS, "needs": ["left"], "inputs": {"data": {"path": "e"}}},
]


def created(desk: Desk) -> list[str]:
    """Names of the Jobs that exist and go on."""
    return sorted(j.stage for j in desk.jobs.values() if not j.finished)


def test_stages_go_one_after_the_other_unless_needs_says_otherwise() -> None:
    desk = Desk(a_run())
    desk.rounds()
    assert created(desk) == ["prompts"]
    assert desk.stage("math").message == "needs sft"
    desk.finishes("prompts")
    assert created(desk) == ["sft"]


def test_branches_run_side_by_side_in_the_order_of_the_spec() -> None:
    desk = Desk(a_run(DIAMOND)).reaches("sft")
    desk.change("sft", finished=True, pods=(a_dead_pod(0, result=done("key-sft")),))
    plan = desk.plan()
    jobs = [a.stage for a in plan.actions if isinstance(a, CreateJob)]
    assert jobs == ["left", "right"]
    assert plan.status.stage == "left, right"


def test_a_finished_stage_starts_the_next_one_in_the_same_decision() -> None:
    desk = Desk(a_run()).reaches("prompts")
    desk.change("prompts", finished=True, pods=(a_dead_pod(0, result=done("key-prompts")),))
    desk.round()
    assert desk.stage("prompts").state == "Complete"
    assert [a.stage for a in desk.done_now() if isinstance(a, CreateJob)] == ["sft"]


def test_when_a_stage_fails_its_branch_waits_and_the_others_finish_first() -> None:
    desk = Desk(a_run(DIAMOND)).reaches("left")
    desk.ends("left", a_dead_pod(78))
    assert desk.stage("eval").state == "Waiting"
    assert desk.stage("eval").message == "needs left, which failed"
    assert desk.condition("Failed") == "False OtherStagesGoOn"
    assert desk.status.finished_at is None
    desk.finishes("right")
    assert desk.condition("Failed") == "True StageFailed"
    assert desk.status.finished_at is not None


@pytest.mark.parametrize(
    ("stages", "model", "data", "why"),
    [
        ([PROMPTS, {"name": "x", "sft": {}}], "base", "prompts", "no model above: spec.model"),
        ([*DIAMOND[:2], {"name": "x", "mathRL": {}}], "sft", "prompts", "the nearest of each"),
        (
            [*DIAMOND, {"name": "x", "mathRL": {}, "needs": ["left", "right"]}],
            "right",
            "prompts",
            "two branches at one distance: the later one",
        ),
        (
            [
                *DIAMOND[:3],
                {"name": "more", "mathRL": {}, "needs": ["left"]},
                {**DIAMOND[-1], "needs": ["more"]},
                {"name": "x", "codeRL": {}, "needs": ["left", "eval"]},
            ],
            "more",
            "prompts",
            "a model that was made from the nearer one is newer",
        ),
        (
            [*DIAMOND, {"name": "x", "mathRL": {}, "inputs": {"model": {"stage": "sft"}}}],
            "sft",
            "prompts",
            "what is given is taken",
        ),
        (
            [*DIAMOND[:2], {"name": "x", "curate": CURATE}],
            None,
            "prompts",
            "a model that a stage does not load is not in its key",
        ),
        (
            [*DIAMOND[:2], {"name": "x", "curate": {**CURATE, "passRate": {}}}],
            "sft",
            "prompts",
            "a pass-rate filter samples from the newest model",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_an_input_that_is_left_out_is_the_newest_of_its_kind(
    stages: list[dict[str, Any]], model: str | None, data: str, why: str
) -> None:
    inputs = recipe_of(a_run(stages).spec).inputs["x"]
    found = dict(inputs.by_name())
    names = {name: s.path if s.path else getattr(s, "stage", None) for name, s in found.items()}
    assert names.get("model") == model, why
    assert names.get("data") == data, why


def test_a_stage_file_names_artifacts_of_the_run_and_absolute_paths_from_outside() -> None:
    desk = Desk(a_run()).reaches("sft")
    assert desk.made["prompts"].stage_file.inputs.data.path == "/run/prompts.jsonl"
    inputs = desk.made["sft"].stage_file.inputs
    assert inputs.model.path == "/run/base"
    assert inputs.data.artifact.uri == "artifacts/key-prompts"


def test_once_a_stage_that_read_it_is_done_the_rest_of_the_run_reads_the_same_import() -> None:
    control = {"name": "control", "sft": {}, "needs": ["prompts"]}
    desk = Desk(a_run([*DIAMOND[:2], control], model={"hub": {"id": "a/b", "revision": "main"}}))
    desk.reaches("sft")
    assert desk.made["control"].stage_file.inputs.model.hub.id == "a/b"
    desk.ends("sft", a_dead_pod(0, result=done("key-sft")))
    desk.ends("control", a_dead_pod(75))
    desk.retries_now()
    assert desk.made["control"].stage_file.inputs.model.artifact == ref("model-base")


def first_file(run: AceReasonRun, context: Context) -> StageFile:
    """The stage file of a run's first stage."""
    desk = Desk(run, context)
    desk.rounds()
    return desk.made["prompts"].stage_file


def test_on_a_laptop_a_stage_is_one_process_whatever_the_file_asks_of_a_cluster() -> None:
    run = a_run(defaults={"nodes": 4, "gpusPerNode": 8, "gracePeriod": "90s"})
    laptop, cluster = (first_file(run, context) for context in (LAPTOP, CLUSTER))
    assert (laptop.nodes, laptop.ranks, laptop.grace_seconds) == (1, 1, 90)
    assert (cluster.nodes, cluster.ranks, cluster.grace_seconds) == (4, 8, 90)
    assert laptop.namespace == "local"


def test_an_artifact_under_the_key_makes_the_stage_reused_and_the_next_one_starts() -> None:
    desk = Desk(a_run())
    desk.rounds()
    desk.prepares("prompts", prepared("curate-1", reused=published("curate-1", "data")))
    assert desk.stage("prompts").state == "Reused"
    assert desk.stage("prompts").artifact == published("curate-1", "data")
    assert created(desk) == ["sft"]


def test_a_corrupt_input_is_read_again_on_another_node_before_its_maker_runs_again() -> None:
    desk = Desk(a_run(), CLUSTER).reaches("sft")
    bad = PrepareRecord(exit_code=65, message="a file differs", corrupt_input="data")
    desk.ends("sft", a_dead_pod(65, "p", result=ResultRecord(exit_code=65)))
    desk.later(minutes=1)
    assert desk.stage("prompts").state == "Complete"
    desk.later(minutes=10)
    pods = (a_dead_pod(65, "q", node="node-3", finished_at=desk.now),)
    desk.change("sft", finished=True, prepare=bad, pods=pods)
    desk.rounds()
    desk.later(minutes=1)
    maker = desk.stage("prompts")
    assert maker.state == "Preparing" and maker.artifact is None
    assert maker.spent.infrastructure == 1
    assert maker.started_at == rfc3339(desk.now), "its time counts from this making"
    assert desk.stage("sft").state == "Waiting"
    desk.prepares("prompts", prepared("key-prompts"))
    desk.ends("prompts", a_dead_pod(0, result=done("key-prompts")))
    assert desk.stage("prompts").state == "Complete"
    assert desk.stage("sft").state == "Preparing"


def test_the_second_reading_avoids_the_node_of_the_first() -> None:
    desk = Desk(a_run()).reaches("sft")
    desk.ends("sft", a_dead_pod(65, "p", node="node-3"))
    desk.retries_now()
    assert (desk.made["sft"].attempt, desk.made["sft"].avoid_node) == (2, "node-3")


def test_a_corrupt_input_from_outside_fails_with_a_sentence() -> None:
    desk = Desk(a_run())
    desk.rounds()
    bad = PrepareRecord(exit_code=65, message="a file differs", corrupt_input="data")
    desk.prepares("prompts", bad)
    assert desk.stage("prompts").state == "BackingOff"
    desk.retries_now()
    desk.prepares("prompts", bad)
    stage = desk.stage("prompts")
    assert stage.state == "Failed"
    assert "input data does not match its digest" in stage.message
    assert "restore it" in stage.message


def test_a_machine_that_misreads_good_inputs_pays_from_its_budget() -> None:
    desk = Desk(a_run()).reaches("sft")
    for _ in range(3):
        desk.ends("sft", a_dead_pod(65))
        desk.retries_now()
        desk.prepares("sft")
    assert desk.stage("sft").spent.infrastructure == 2
    assert desk.stage("prompts").state == "Complete"


def test_held_out_sets_are_resolved_in_order() -> None:
    sets = [{"path": "a"}, {"artifact": {"uri": "artifacts/data-b", "digest": digest("b")}}]
    inputs = {"data": {"path": "p"}, "heldOut": sets}
    desk = Desk(a_run([{"name": "prompts", "curate": {}, "inputs": inputs}]))
    desk.rounds()
    first, second = desk.made["prompts"].stage_file.inputs.held_out
    assert (first.path, second.artifact.uri) == ("/run/a", "artifacts/data-b")
    found = PreparedInputs(data=ref("data-p"), held_out=[ref("data-a"), ref("data-b")])
    desk.prepares("prompts", prepared("k", inputs=found))
    assert desk.stage("prompts").state == "Running"


def test_only_a_source_that_was_imported_before_costs_a_digest_and_only_one() -> None:
    """A plan is made for every change of a run; digests of all its stages were half of its time."""
    again = {"name": "again", "curate": CURATE, "inputs": {"data": {"path": "prompts.jsonl"}}}
    new = {"name": "new", "curate": CURATE, "inputs": {"data": {"path": "other.jsonl"}}}
    desk = Desk(a_run([*STAGES, again, new])).reaches("again")
    recipe = recipe_of(desk.run.spec)
    statuses = {s.name: s for s in desk.status.stages}
    for stage in ("math", "new"):
        assert stage_inputs(stage, recipe, statuses, LAPTOP) is not None
    assert dict(recipe.digests) == {}
    read = stage_inputs("again", recipe, statuses, LAPTOP)
    assert read is not None and read.data is not None
    assert read.data.artifact == ref("data-prompts")
    assert set(dict(recipe.digests)) == {"prompts"}
