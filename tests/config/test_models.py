"""What every model of the project promises, and what the models make of the papers' recipe."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.schema import json_schema
from acereason_trainer.config.annotations import model_in
from acereason_trainer.config.forms import EXPLANATIONS
from acereason_trainer.config.model import Model
from acereason_trainer.config.rl import CodeRL, MathRL, RLStop, Temperature
from acereason_trainer.config.sft import Optimizer
from acereason_trainer.config.stage_file import (
    PrepareRecord,
    Progress,
    PublishedArtifact,
    ResultRecord,
    ResumeState,
    StageFile,
    StageSettings,
    settings_for_key,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError


def every_model(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models below a model, each once."""
    seen: dict[type[BaseModel], None] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen[model] = None
        inner = (model_in(info.annotation) for info in model.model_fields.values())
        waiting += [found for found in inner if found is not None]
    yield from seen


MODELS = [*every_model(AceReasonRun), *every_model(StageFile)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_and_field_says_what_it_is(model: type[BaseModel]) -> None:
    assert model.__doc__
    silent = [name for name, info in model.model_fields.items() if not info.description]
    assert silent == []


def test_every_form_is_explained() -> None:
    patterns: set[str] = set(re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', _schema_text()))
    used = {pattern.replace("\\\\", "\\") for pattern in patterns}
    assert used <= set(EXPLANATIONS)


def test_every_list_of_a_run_is_bounded() -> None:
    """An API server prices its rules by the largest list that a schema allows."""
    endless = [
        path
        for path, part in _parts(json_schema())
        if part.get("type") == "array"
        if "maxItems" not in part
    ]
    assert endless == []


def _schema_text() -> str:
    import json

    return json.dumps(json_schema())


def _parts(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            yield from _parts(value, f"{path}/{key}")
    if isinstance(schema, list):
        for i, value in enumerate(schema):
            yield from _parts(value, f"{path}/{i}")


def test_a_field_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValidationError, match="groupsize"):
        MathRL.parse({"groupsize": {"fixed": 8}})


def test_outside_names_are_camel_case_only() -> None:
    assert MathRL.parse({"maxPromptTokens": 9}).max_prompt_tokens == 9
    with pytest.raises(ValidationError):
        MathRL.parse({"max_prompt_tokens": 9})


def test_what_is_dumped_is_read_again() -> None:
    settings = CodeRL(temperature=Temperature(per_epoch=[0.6, 0.8, 1.0]), stop=RLStop(epochs=3))
    assert CodeRL.parse(settings.dump()) == settings


@given(st.floats(min_value=1e-300, max_value=1, exclude_min=True))
def test_a_learning_rate_survives_json(rate: float) -> None:
    optimizer = Optimizer(learning_rate=rate)
    assert Optimizer.parse_json(optimizer.model_dump_json()).learning_rate == rate


def test_defaults_are_the_papers() -> None:
    assert MathRL().optimizer.learning_rate == 1e-6
    assert CodeRL().optimizer.learning_rate == 5e-6
    assert MathRL().prompts_per_step == 128


def test_what_never_changes_results_is_not_in_the_key() -> None:
    plain = settings_for_key(MathRL())
    elsewhere = MathRL.parse(
        {
            "tokensPerMicroBatch": 1024,
            "saving": {"minutesAtRisk": 1, "keep": 9},
            "telemetry": {"tensorboard": True, "dumpRolloutsEvery": 1, "metricsPort": 9000},
            "verifier": {"workers": 64},
        }
    )
    assert settings_for_key(elsewhere) == plain


def test_settings_that_came_later_leave_the_keys_of_files_without_them() -> None:
    plain = settings_for_key(MathRL.parse({"health": {}, "validation": {}}))
    assert not {"checkpoint", "dynamicSampling"} & plain.keys()
    assert set(plain["health"]) == {"window", "maxRewardDrop"}
    assert "importanceCap" not in plain["loss"]
    assert "heldOutShare" not in plain["validation"]
    spelt_out = {"checkpoint": "last", "health": {"goOn": []}, "validation": {}}
    assert settings_for_key(MathRL.parse(spelt_out)) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "best", "validation": {}},
        {"dynamicSampling": {}},
        {"loss": {"importanceCap": 2}},
        {"health": {"entropy": {}}},
        {"promptsPerStep": 64},
        {"temperature": {"fixed": 1.0}},
        {"overlong": {"mode": "mask"}},
        {"verifier": {"code": {"secondsPerTest": 12}}},
        {"reward": {"function": "a.b:c"}},
        {"sequencesPerBatch": 128},
        {"loading": {"dtype": "float32"}},
    ],
)
def test_what_changes_results_is_in_the_key(change: dict[str, Any]) -> None:
    assert settings_for_key(MathRL.parse(change)) != settings_for_key(MathRL())


@pytest.mark.parametrize("metric", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("record", [Progress, ResultRecord])
def test_a_record_with_a_number_that_json_cannot_hold_is_unreadable(
    record: type[Model], metric: str
) -> None:
    """It would go into the run's status, and every write of that would be refused."""
    said = '"step": 1' if record is Progress else '"exitCode": 0'
    record.parse_json(f'{{{said}, "metrics": {{"reward": 0.5}}}}')
    with pytest.raises(ValidationError):
        record.parse_json(f'{{{said}, "metrics": {{"reward": {metric}}}}}')


A_DIGEST = "sha256:" + "0" * 64
AN_ARTIFACT = {"uri": "artifacts/sft-0", "digest": A_DIGEST, "bytes": 1, "kind": "model"}


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (Progress, '{"step": 9223372036854775808}'),
        (Progress, '{"step": 1, "total": 1e30}'),
        (Progress, '{"step": 1, "total": -1}'),
        (Progress, '{"step": 1, "rate": NaN}'),
        (Progress, '{"step": 1, "secondsLeft": Infinity}'),
        (Progress, json.dumps({"step": 1, "metrics": {f"m{i}": 0 for i in range(65)}})),
        (Progress, json.dumps({"step": 1, "metrics": {"x" * 129: 0}})),
        (ResultRecord, '{"exitCode": 99999999999999999999}'),
        (ResultRecord, '{"exitCode": 0, "step": 99999999999999999999}'),
        (ResultRecord, '{"exitCode": 0, "rank": 99999999999999999999}'),
        (ResultRecord, '{"exitCode": 0, "publishSeconds": NaN}'),
        (PrepareRecord, '{"exitCode": 99999999999999999999}'),
        (PublishedArtifact, json.dumps(AN_ARTIFACT | {"bytes": 2**63})),
        (PublishedArtifact, json.dumps(AN_ARTIFACT | {"uri": ""})),
        (PublishedArtifact, json.dumps(AN_ARTIFACT | {"uri": "x" * 1025})),
        (ResumeState, json.dumps({"path": "p", "digest": A_DIGEST, "step": 2**63})),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[:40],
)
def test_a_record_that_a_status_cannot_hold_is_unreadable(record: type[Model], text: str) -> None:
    with pytest.raises(ValidationError):
        record.parse_json(text)


@pytest.mark.parametrize("kind", ["sft", "mathRL", "codeRL"])
def test_the_old_word_that_a_server_has_written_into_runs_is_read(kind: str) -> None:
    assert StageSettings.parse({kind: {"layout": "auto"}}).settings.model_dump()["layout"] == "auto"
    assert StageSettings.parse({kind: {}}).settings.model_dump()["layout"] == "packed"
