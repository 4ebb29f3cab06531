"""Who asks for GPUs that would stand idle is told so, before anything runs."""

from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRunSpec
from acereason_operator.planner.idle_gpus import idle_gpus

RULES = {"name": "s", "curate": {}, "inputs": {"data": {"path": "a.jsonl"}}}
FILTER = {**RULES, "curate": {"passRate": {}}}
EXAM = {**RULES, "evaluate": {"sets": [{"name": "a", "file": "a.jsonl"}]}}
del EXAM["curate"]
SFT = {"name": "s", "sft": {}, "inputs": {"data": {"path": "a.jsonl"}}}


@pytest.mark.parametrize(
    ("stage", "defaults", "said"),
    [
        (SFT, {"gpusPerNode": 8, "nodes": 2}, []),
        (EXAM, {"gpusPerNode": 8}, []),
        ({**FILTER, "nodes": 2}, {"gpusPerNode": 8}, []),
        (RULES, {}, []),
        ({**RULES, "gpusPerNode": 0}, {"gpusPerNode": 8}, []),
        (
            {**RULES, "nodes": 2},
            {"gpusPerNode": 1},
            [
                "stage s asks for 2 GPUs and uses none, since rules ask no model; set "
                "gpusPerNode: 0 on it"
            ],
        ),
        (
            RULES,
            {"gpusPerNode": 8},
            [
                "stage s asks for 8 GPUs and uses none, since rules ask no model; set "
                "gpusPerNode: 0 on it"
            ],
        ),
    ],
)
def test_a_stage_that_cannot_use_its_gpus_is_named(
    stage: dict[str, Any], defaults: dict[str, Any], said: list[str]
) -> None:
    spec = {
        "model": {"path": "base"},
        "storage": {"directory": "store"},
        "defaults": defaults,
        "stages": [stage],
    }
    assert idle_gpus(AceReasonRunSpec.parse(spec)) == said
