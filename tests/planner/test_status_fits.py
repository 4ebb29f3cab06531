"""Whatever pods, registries and servers say, the status stays one that the API server takes."""

from typing import Any

import pytest
from acereason_operator.api.crd import crd
from acereason_trainer.config.stage_file import PrepareRecord, ResultRecord
from planner_builders import CLUSTER, STAGES, Desk, a_dead_pod, a_pod, a_run

SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
ENDLESS = "it went wrong " * 5000
INDEPENDENT = [{**STAGES[0], "name": f"s{i}", "needs": []} for i in range(64)]


def too_long(schema: dict[str, Any], value: Any, path: str = "status") -> list[str]:
    """Paths of a value that are above a bound of its schema."""
    if isinstance(value, str):
        return [path] if len(value) > schema.get("maxLength", len(value)) else []
    if isinstance(value, list):
        return [
            bad for i, v in enumerate(value) for bad in too_long(schema["items"], v, f"{path}[{i}]")
        ]
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        return [bad for k, v in value.items() for bad in too_long(parts[k], v, f"{path}.{k}")]
    return []


def prepare_fails(desk: Desk) -> None:
    desk.prepares("prompts", PrepareRecord(exit_code=78, message=ENDLESS))


def training_fails(desk: Desk) -> None:
    desk.prepares("prompts")
    record = ResultRecord(exit_code=78, message=ENDLESS, log_tail=ENDLESS)
    desk.ends("prompts", a_dead_pod(78, result=record))


def an_image_cannot_be_pulled(desk: Desk) -> None:
    pod = a_pod(phase="Pending", waiting_reason="ErrImagePull", waiting_message=ENDLESS)
    desk.change("prompts", pods=(pod,))
    desk.rounds()


@pytest.mark.parametrize("happens", [prepare_fails, training_fails, an_image_cannot_be_pulled])
def test_a_text_of_any_length_fits_and_keeps_its_advice(happens: Any) -> None:
    desk = Desk(a_run(STAGES[:1]), CLUSTER)
    desk.rounds()
    happens(desk)
    desk.later(minutes=1)
    assert too_long(SCHEMA, desk.status.dump()) == []
    assert "it went wrong" in desk.status.message
    assert "try: correct" in desk.status.message


def test_the_failures_of_64_stages_fit_together() -> None:
    desk = Desk(a_run(INDEPENDENT))
    desk.rounds()
    for stage in INDEPENDENT:
        desk.prepares(stage["name"], PrepareRecord(exit_code=78, message=ENDLESS[:1000]))
    assert desk.condition("Failed") == "True StageFailed"
    assert too_long(SCHEMA, desk.status.dump()) == []
