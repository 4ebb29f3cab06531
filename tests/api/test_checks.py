"""Rules between the stages of a run."""

from pathlib import Path

import pytest
from acereason_operator.api.load import load_run
from acereason_operator.api.run import AceReasonRunSpec, StagesDoNotFit
from acereason_trainer.config.sources import ModelSource

HEAD = """\
apiVersion: acereason.dev/v1alpha1
kind: AceReasonRun
metadata: {name: tiny}
spec:
  model: {hub: {id: Qwen/Qwen2.5-Math-7B, revision: b101308}}
  storage: STORAGE
  stages:
"""
DIRECTORY = "{directory: store}"
PROMPTS = "- {name: prompts, curate: {}, inputs: {data: {path: /data/math.jsonl}}}"
MATH = "- {name: math, mathRL: {}}"
SCORES = "- {name: scores, evaluate: {sets: [{name: a, file: a}]}}"


def told(tmp_path: Path, stages: list[str], storage: str = DIRECTORY) -> list[str]:
    """What `validate` says of a run with these stages."""
    file = tmp_path / "run.yaml"
    file.write_text(HEAD.replace("STORAGE", storage) + "".join(f"  {line}\n" for line in stages))
    return [f"{p.path}: {p.message}" for p in load_run(file, [], []).problems]


SKIPS = "- {name: m, mathRL: {}, needs: [prompts]}"
OWN_DATA = "- {name: m, mathRL: {}, inputs: {data: {path: /x}}}"
LATER = OWN_DATA.replace("name: m", "name: later")
FINE = [
    ("each stage reads what the ones above made", [PROMPTS, MATH, SCORES]),
    (
        "a stage can skip the one above it",
        [PROMPTS, MATH, SKIPS],
    ),
    (
        "a first stage can bring its own data",
        [OWN_DATA],
    ),
    (
        "a refilter asks the run's own base model where no stage trained one",
        [PROMPTS, "- {name: again, curate: {passRate: {}}}"],
    ),
    (
        "decontamination is on by default and idle without held-out sets",
        [PROMPTS],
    ),
    (
        "an input may come from far above",
        [PROMPTS, MATH, "- {name: c, codeRL: {}, inputs: {data: {stage: prompts}}}"],
    ),
]


@pytest.mark.parametrize(("why", "stages"), FINE, ids=[case[0] for case in FINE])
def test_what_fits_together_passes(tmp_path: Path, why: str, stages: list[str]) -> None:
    assert told(tmp_path, stages) == []


WRONG = [
    (
        "two stages of one name",
        [PROMPTS, MATH, MATH],
        "spec.stages[2].name: math is also the name of stages[1]; give each stage its own",
    ),
    (
        "an input of the first stage from a stage that is not there",
        ["- {name: m, mathRL: {}, inputs: {data: {path: /x}, model: {stage: zz}}}", LATER],
        "spec.stages[0].inputs.model.stage: there is no stage zz; no stage stands above it",
    ),
    (
        "an input from a stage that is not there, with others below",
        [PROMPTS, "- {name: m, mathRL: {}, inputs: {model: {stage: zz}}}", MATH],
        "spec.stages[1].inputs.model.stage: there is no stage zz; above it are: prompts",
    ),
    (
        "a need that no stage has",
        [PROMPTS, "- {name: m, mathRL: {}, needs: [prompt]}"],
        "spec.stages[1].needs[0]: there is no stage prompt; did you mean prompts?",
    ),
    (
        "a need that is like none",
        [PROMPTS, "- {name: m, mathRL: {}, needs: [xyz]}"],
        "spec.stages[1].needs[0]: there is no stage xyz; above it are: prompts",
    ),
    (
        "a need of itself",
        [PROMPTS, "- {name: m, mathRL: {}, needs: [m]}"],
        "spec.stages[1].needs[0]: m cannot need itself; remove it",
    ),
    (
        "a need of what comes later, the only way to a cycle",
        [PROMPTS, "- {name: a, mathRL: {}, needs: [prompts, b]}", "- {name: b, mathRL: {}}"],
        "spec.stages[1].needs[1]: b stands below this stage; a stage can need only what is above "
        "it: move one of them",
    ),
    (
        "a need named twice",
        [PROMPTS, "- {name: m, mathRL: {}, needs: [prompts, prompts]}"],
        "spec.stages[1].needs[1]: prompts is named twice; once is enough",
    ),
    (
        "an input from a stage that may not be complete",
        [
            PROMPTS,
            "- {name: a, mathRL: {}}",
            "- {name: b, mathRL: {}, needs: [prompts], inputs: {model: {stage: a}}}",
        ],
        "spec.stages[2].inputs.model.stage: a may not be complete by then; add it to this stage's "
        "needs",
    ),
    (
        "a model from a stage that makes data",
        [PROMPTS, "- {name: m, mathRL: {}, inputs: {model: {stage: prompts}}}"],
        "spec.stages[1].inputs.model.stage: prompts is a stage of kind curate, which makes a "
        "dataset, and model must be a model; no stage above makes a model: give a path, hub or "
        "artifact",
    ),
    (
        "data from a stage that makes a model",
        [PROMPTS, MATH, "- {name: c, codeRL: {}, inputs: {data: {stage: math}}}"],
        "spec.stages[2].inputs.data.stage: math is a stage of kind mathRL, which makes a model, "
        "and data must be a dataset; name one of: prompts",
    ),
    (
        "an input from a stage that does not exist",
        [PROMPTS, "- {name: m, mathRL: {}, inputs: {data: {stage: promts}}}"],
        "spec.stages[1].inputs.data.stage: there is no stage promts; did you mean prompts?",
    ),
    (
        "nothing to read",
        ["- {name: m, mathRL: {}}"],
        "spec.stages[0].inputs: mathRL reads data and no curate stage stands along its needs; add "
        "inputs: {data: {path: ...}}, or need a curate stage",
    ),
    (
        "nothing to read along the needs",
        [PROMPTS, "- {name: m, mathRL: {}, needs: []}"],
        "spec.stages[1].inputs: mathRL reads data and no curate stage stands along its needs; add "
        "inputs: {data: {path: ...}}, or need a curate stage",
    ),
    (
        "held-out sets where nothing is compared with them",
        [PROMPTS, "- {name: m, mathRL: {}, inputs: {heldOut: [{path: /x}]}}"],
        "spec.stages[1].inputs.heldOut: only a curate stage drops what overlaps with held-out "
        "sets; mathRL reads none: remove it, or move it to the curate stage",
    ),
    (
        "decontamination asked for, against nothing",
        ["- {name: p, curate: {decontamination: {ngram: 14}}, inputs: {data: {path: /x}}}"],
        "spec.stages[0].curate.decontamination: has nothing to compare with; add the evaluation "
        "sets: inputs: {heldOut: [...]}",
    ),
    (
        "validation without problems",
        [PROMPTS, "- {name: m, mathRL: {validation: {}}}"],
        "spec.stages[1].mathRL.validation: has no problems to validate on; add inputs: "
        "{validation: ...} to the stage, or heldOutShare here",
    ),
    (
        "problems that are held out and given",
        [
            PROMPTS,
            "- {name: m, mathRL: {validation: {heldOutShare: 0.1}}, inputs: {validation: "
            "{path: /x}}}",
        ],
        "spec.stages[1].mathRL.validation.heldOutShare: holds problems out of the stage's own "
        "data, and inputs.validation gives others; remove one of them",
    ),
    (
        "problems to validate on without validation",
        [PROMPTS, "- {name: m, codeRL: {}, inputs: {validation: {path: /x}}}"],
        "spec.stages[1].inputs.validation: is read only where validation is set; add validation: "
        "{everySteps: 50} to codeRL, or remove it",
    ),
    (
        "validation inside a stage that does not train by reward",
        [PROMPTS, "- {name: s, sft: {}, inputs: {validation: {path: /x}}}"],
        "spec.stages[1].inputs.validation: only mathRL and codeRL validate while they train; sft "
        "does not: remove it, or add an evaluate stage",
    ),
    (
        "a model for a filter that is not there",
        ["- {name: p, curate: {}, inputs: {data: {path: /x}, model: {path: /m}}}"],
        "spec.stages[0].inputs.model: a curate stage asks a model only for passRate, which is not "
        "set; remove it, or set curate.passRate",
    ),
    (
        "a plateau that nobody looks for",
        [PROMPTS, "- {name: m, mathRL: {stop: {plateau: {maxSteps: 9}}}}"],
        "spec.stages[1].mathRL.stop.plateau: a plateau is seen by validation, which is not set; "
        "add validation: {everySteps: 50} beside stop",
    ),
]


@pytest.mark.parametrize(("why", "stages", "message"), WRONG, ids=[case[0] for case in WRONG])
def test_what_does_not_fit_together_is_one_problem(
    tmp_path: Path, why: str, stages: list[str], message: str
) -> None:
    assert told(tmp_path, stages) == [message]


def test_a_relative_path_means_nothing_on_an_object_store(tmp_path: Path) -> None:
    stages = ["- {name: p, curate: {}, inputs: {data: {path: math.jsonl}, heldOut: [{path: /x}]}}"]
    assert told(tmp_path, stages, "{objectStore: 's3://bucket/runs'}") == [
        "spec.stages[0].inputs.data.path: math.jsonl is relative to the run file, which stages on "
        "an object store do not see; use hub, artifact or the absolute path of a mounted volume"
    ]


def test_several_nodes_cannot_share_a_claim_of_one_node(tmp_path: Path) -> None:
    claim = "{claimTemplate: {name: a, storage: 1Ti, accessMode: ReadWriteOnce}}"
    assert told(tmp_path, [PROMPTS, "- {name: m, mathRL: {}, nodes: 2}"], claim) == [
        "spec.stages[1].nodes: 2 nodes cannot share the claim, which is ReadWriteOnce; set "
        "storage.claimTemplate.accessMode: ReadWriteMany"
    ]


def test_rules_between_stages_are_held_while_a_stage_is_broken(tmp_path: Path) -> None:
    broken = "- {name: math, mathRL: {maxPromptTokens: 0}, needs: [prompt]}"
    found = told(tmp_path, [PROMPTS, broken, "- {name: c, codeRL: {}, needs: [mth]}"])
    assert [message.split(": ")[0] for message in found] == [
        "spec.stages[1].mathRL.maxPromptTokens",
        "spec.stages[1].needs[0]",
        "spec.stages[2].needs[0]",
    ]


def test_an_unreadable_name_accuses_nobody_who_may_mean_it(tmp_path: Path) -> None:
    stages = [PROMPTS, "- {name: [m], mathRL: {}}", "- {name: c, codeRL: {}, needs: [m]}"]
    assert [message.split(": ")[0] for message in told(tmp_path, stages)] == ["spec.stages[1].name"]


def test_a_run_made_in_python_is_held_to_the_same_rules() -> None:
    with pytest.raises(ValueError, match="mathRL reads data and no curate stage") as failure:
        AceReasonRunSpec.parse(
            {
                "model": ModelSource(path="base").dump(),
                "storage": {"directory": "store"},
                "stages": [{"name": "m", "mathRL": {}}],
            }
        )
    assert isinstance(failure.value.errors()[0]["ctx"]["error"], StagesDoNotFit)  # type: ignore[attr-defined]
