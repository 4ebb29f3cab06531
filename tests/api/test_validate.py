"""`acereason validate`: one reading of a file tells everything that is wrong with it."""

import json
from pathlib import Path

import pytest
from acereason_operator.api.load import load_run
from acereason_operator.cli.validate import validate_files

TEN_MISTAKES = Path(__file__).parent / "ten_mistakes.yaml"

GOOD = """\
apiVersion: acereason.dev/v1alpha1
kind: AceReasonRun
metadata: {name: tiny}
spec:
  model: {path: base}
  storage: {directory: store}
  stages:
  - name: prompts
    curate: {}
    inputs: {data: {path: math.jsonl}}
  - name: math-8k
    mathRL: {maxResponseTokens: 8192, stop: {steps: 10}}
"""


def messages(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a file, without its directory."""
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in validate_files([file])]


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    assert messages(tmp_path, GOOD) == []


def test_ten_mistakes_give_ten_messages_each_on_its_line() -> None:
    lines = TEN_MISTAKES.read_text().splitlines()
    marked = [
        n for n, line in enumerate(lines, start=1) for i in range(1, 11) if f"# {i}: " in line
    ]
    problems = validate_files([TEN_MISTAKES])
    assert [problem.line for problem in problems] == marked
    assert len(problems) == len({problem.message for problem in problems}) == 10


CASES = [
    (
        "a typo finds the field that was meant",
        GOOD.replace("maxResponseTokens", "maxResponseToken"),
        "run.yaml:12: spec.stages[1].mathRL.maxResponseToken: there is no such field; did you mean "
        "maxResponseTokens?",
    ),
    (
        "an engine has settings that draws nothing",
        GOOD.replace("curate: {}", "curate: {passRate: {vllm: {tensorParallel: 2}}}"),
        "run.yaml:9: spec.stages[0].curate.passRate.vllm: means something only with sampler: vllm; "
        "set that, or leave vllm out",
    ),
    (
        "a field that is like none lists what there is",
        GOOD.replace("{path: base}", "{path: base, xyz: 1}"),
        "run.yaml:5: spec.model.xyz: there is no such field; here are: hub, path, artifact, "
        "fromConfig",
    ),
    (
        "snake case is not a second spelling",
        GOOD.replace("maxResponseTokens", "max_response_tokens"),
        "run.yaml:12: spec.stages[1].mathRL.max_response_tokens: there is no such field; did you "
        "mean maxResponseTokens?",
    ),
    (
        "a missing field says what it is",
        GOOD.replace("steps: 10", "plateau: {}").replace(
            "mathRL: {", "inputs: {validation: {path: v}}\n    mathRL: {validation: {}, "
        ),
        "run.yaml:13: spec.stages[1].mathRL.stop.plateau.maxSteps: is missing; add it (stop here "
        "at the latest)",
    ),
    (
        "a number in quotes is text",
        GOOD.replace("steps: 10", "steps: '10'"),
        'run.yaml:12: spec.stages[1].mathRL.stop.steps: "10" is text because of its quotes; write '
        "a whole number without them",
    ),
    (
        "a word where a number belongs",
        GOOD.replace("steps: 10", "steps: many"),
        'run.yaml:12: spec.stages[1].mathRL.stop.steps: "many" is text; write a whole number',
    ),
    (
        "a fraction where a whole number belongs",
        GOOD.replace("steps: 10", "steps: 1.5"),
        "run.yaml:12: spec.stages[1].mathRL.stop.steps: 1.5 stands here; write a whole number",
    ),
    (
        "YAML's booleans surprise people who name things",
        GOOD.replace("name: tiny", "name: on"),
        "run.yaml:3: metadata.name: true (YAML reads yes, no, on, off, y and n so) stands where "
        "text is needed; put it in quotes",
    ),
    (
        "a key without a value",
        GOOD.replace("{path: base}", ""),
        "run.yaml:5: spec.model: is empty; write keys below it: hub, path, artifact, fromConfig",
    ),
    (
        "a list where keys belong",
        GOOD.replace("{path: base}", "[base]"),
        "run.yaml:5: spec.model: a list stands here; write keys below it: hub, path, artifact, "
        "fromConfig",
    ),
    (
        "a group of one has no spread",
        GOOD.replace("stop:", "groupSize: {fixed: 1}, stop:"),
        "run.yaml:12: spec.stages[1].mathRL.groupSize.fixed: 1 gives no spread to learn from; use "
        "2 or more (the papers: 8 or 16)",
    ),
    (
        "two ways to stop",
        GOOD.replace("steps: 10", "steps: 10, epochs: 2"),
        "run.yaml:12: spec.stages[1].mathRL.stop: holds steps and epochs; keep one of them",
    ),
    (
        "no stage kind at all",
        GOOD.replace("    curate: {}\n", ""),
        "run.yaml:8: spec.stages[0]: holds none of its members; give one of curate, sft, mathRL, "
        "codeRL, evaluate",
    ),
    (
        "no stages at all",
        GOOD.split("  stages:", maxsplit=1)[0] + "  stages: []\n",
        "run.yaml:7: spec.stages: is empty; give at least 1 item",
    ),
    (
        "a stage with two kinds, one of them broken inside",
        GOOD.replace("curate: {}", "curate: {maxRows: -1}\n    sft: {}"),
        "run.yaml:8: spec.stages[0]: holds curate and sft; keep one of them",
    ),
    (
        "a rule between two fields is held while a third is broken",
        GOOD.replace(
            "stop: {steps: 10}",
            "maxPromptTokens: 0, overlong: {inStatistics: false}, stop: {steps: 1}",
        ),
        "run.yaml:12: spec.stages[1].mathRL.overlong: inStatistics and inDenominator mean "
        "something only with mode: mask; leave them out or set mode: mask",
    ),
    (
        "a duration in words",
        GOOD.replace("  stages:", "  ttlAfterFinished: a week\n  stages:"),
        'run.yaml:7: spec.ttlAfterFinished: "a week" has the wrong form; write a number with h, m, '
        "s or ms, as in 1h30m or 90s",
    ),
    (
        "an amount with a unit that does not exist",
        GOOD.replace("  stages:", "  defaults: {resources: {requests: {memory: 3GB}}}\n  stages:"),
        "run.yaml:7: spec.defaults.resources.requests.memory: '3GB' is not an amount; write a "
        "number, or one with a suffix, as in 500m or 16Gi",
    ),
    (
        "a fraction that the API server would refuse",
        GOOD.replace("  stages:", "  defaults: {resources: {limits: {cpu: 1.5}}}\n  stages:"),
        "run.yaml:7: spec.defaults.resources.limits.cpu: 1.5 is a fraction, which the API server "
        'takes as text alone; write it in quotes, "1.5", or with a suffix, as in 500m',
    ),
    (
        "no CPU",
        GOOD.replace("  stages:", "  defaults: {resources: {requests: {cpu: 0}}}\n  stages:"),
        "run.yaml:7: spec.defaults.resources.requests.cpu: 0 CPUs cannot run anything; ask for "
        "more, as in 1 or 500m",
    ),
    (
        "one variable twice",
        GOOD.replace(
            "  stages:", "  defaults: {env: [{name: A, value: x}, {name: A, value: z}]}\n  stages:"
        ),
        "run.yaml:7: spec.defaults.env[1].name: A is also env[0]; set it once",
    ),
    (
        "a deadline of nothing",
        GOOD.replace("  stages:", "  defaults: {deadlines: {active: 0s}}\n  stages:"),
        "run.yaml:7: spec.defaults.deadlines.active: 0s would end every attempt at once; use more, "
        "or leave it out",
    ),
    (
        "pass@k of more samples than are drawn",
        GOOD + "  - name: e\n    evaluate: {sets: [{name: a, file: a, samples: 4}], passAt: [8]}\n",
        "run.yaml:14: spec.stages[2].evaluate.passAt: pass@8 needs at least 8 samples per problem; "
        "set a has 4: raise its samples or leave 8 out",
    ),
    (
        "a decay without a known end",
        GOOD.replace(
            "stop: {steps: 10}",
            "stop: {epochs: 2}, dynamicSampling: {}, optimizer: "
            "{learningRate: 1e-6, finalFraction: 0}",
        ),
        "run.yaml:12: spec.stages[1].mathRL.optimizer.finalFraction: dynamicSampling and "
        "dropSolved leave open after how many steps the epochs end, so the learning rate would not "
        "come down to its end; give stop: {steps: ...}, or leave finalFraction out",
    ),
    (
        "warm-up that never ends",
        GOOD.replace("stop:", "optimizer: {learningRate: 1e-6, warmupSteps: 10}, stop:"),
        "run.yaml:12: spec.stages[1].mathRL.optimizer.warmupSteps: 10 steps of warm-up and the "
        "stage ends after 10; warm up for fewer",
    ),
    (
        "another kind of object",
        "apiVersion: v1\nkind: Pod\n",
        "run.yaml:1: is no AceReasonRun; a run file starts with apiVersion: "
        "acereason.dev/v1alpha1, kind: AceReasonRun",
    ),
    (
        "an empty file",
        "# nothing\n",
        "run.yaml: is empty; a run file holds one AceReasonRun",
    ),
    (
        "a key that stands twice",
        GOOD.replace("metadata:", "kind: AceReasonRun\nmetadata:"),
        "run.yaml:3: kind: is already set on line 2; a key may stand once: remove one of them",
    ),
    (
        "a tab",
        GOOD.replace("  model", "\tmodel"),
        "run.yaml:5: a tab indents this line; YAML wants spaces here",
    ),
]


@pytest.mark.parametrize(("why", "text", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_mistake_is_told_in_one_sentence(
    tmp_path: Path, why: str, text: str, message: str
) -> None:
    assert message in messages(tmp_path, text)


def test_what_only_follows_from_a_mistake_is_not_told(tmp_path: Path) -> None:
    text = GOOD.replace("stop: {steps: 10}", "groupSize: {fixd: 8}, stop: {steps: ten}")
    assert [message.split(": ")[1] for message in messages(tmp_path, text)] == [
        "spec.stages[1].mathRL.groupSize.fixd",
        "spec.stages[1].mathRL.stop.steps",
    ]


def test_a_typo_in_a_required_field_is_one_problem(tmp_path: Path) -> None:
    text = GOOD.replace("stop:", "optimizer: {learningrate: 1e-6}, stop:")
    assert len(messages(tmp_path, text)) == 1


def test_every_document_of_a_file_is_read(tmp_path: Path) -> None:
    bad = GOOD.replace("steps: 10", "steps: 0")
    found = messages(tmp_path, f"{GOOD}---\n{bad}")
    assert [message.split(": ")[0] for message in found] == ["run.yaml:25"]


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (problem,) = validate_files([tmp_path / "none.yaml"])
    assert problem.message == (
        "cannot be read (No such file or directory); give the path of a run file"
    )


def test_bytes_that_are_no_text_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"a: \xff\xfe")
    (problem,) = validate_files([tmp_path / "run.yaml"])
    assert "is not UTF-8 text" in problem.message


def test_paths_that_lead_nowhere_are_problems_of_a_local_run(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    (tmp_path / "math.jsonl").write_text("")
    (problem,) = validate_files([file], local=True)
    assert (problem.line, problem.path) == (5, "spec.model.path")
    assert problem.message == f"{tmp_path}/base does not exist; correct it or make it"


def test_a_document_of_aliases_of_aliases_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (message,) = messages(tmp_path, "\n".join(lines))
    assert message.endswith("aliases stand for more than 50000 values")


def test_a_document_nested_beyond_reason_is_refused(tmp_path: Path) -> None:
    (message,) = messages(tmp_path, "[" * 5000)
    assert "nested too deeply" in message


def test_problems_are_data_for_programs(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(GOOD.replace("steps: 10", "steps: 0"))
    (problem,) = validate_files([file])
    assert json.loads(json.dumps(problem.dump())) == {
        "file": str(file),
        "line": 12,
        "path": "spec.stages[1].mathRL.stop.steps",
        "message": "0 is below 1; use 1 or more",
    }


def test_a_run_comes_only_out_of_a_file_without_problems(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    assert load_run(file, [], []).run is not None
    file.write_text(GOOD.replace("steps: 10", "steps: 0"))
    assert load_run(file, [], []).run is None


STAGES = "  stages:\n  - name: math-8k\n    inputs: {data: {path: math.jsonl}}\n"
MATH = STAGES + "    mathRL: {maxResponseTokens: 64, stop: {steps: 9}, "
BASE = "  model: {path: base}\n"
UNIONS = [
    ("spec.model", "path", "hub", "  model: {path: base, hub: %s}\n" + MATH + "}\n"),
    (
        "spec.stages[0].inputs.data",
        "path",
        "hub",
        BASE + MATH.replace("math.jsonl}", "d, hub: %s}") + "}\n",
    ),
    (
        "spec.stages[0].mathRL.temperature",
        "fixed",
        "targetEntropy",
        BASE + MATH + "temperature: {fixed: 0.85, targetEntropy: %s}}\n",
    ),
    (
        "spec.stages[0].mathRL.stop",
        "steps",
        "plateau",
        BASE + MATH.replace("9}", "9, plateau: %s}") + "}\n",
    ),
    ("spec.stages[0]", "sft", "evaluate", BASE + STAGES + "    sft: {}\n    evaluate: %s\n"),
]
SECOND = {
    "hub": {"good": "{id: a/b, revision: c}", "broken": "7", "incomplete": "{id: a/b}"},
    "targetEntropy": {"good": "{}", "broken": "0.3", "incomplete": "{entropy: 0}"},
    "plateau": {"good": "{maxSteps: 50}", "broken": "[]", "incomplete": "{patience: 3}"},
    "evaluate": {"good": "{sets: [{name: a, file: a}]}", "broken": "yes", "incomplete": "{}"},
}


@pytest.mark.parametrize("state", ["good", "broken", "incomplete"])
@pytest.mark.parametrize(
    ("where", "first", "second", "spec"), UNIONS, ids=[case[0] for case in UNIONS]
)
def test_two_members_are_told_whatever_the_second_holds(
    tmp_path: Path, where: str, first: str, second: str, spec: str, state: str
) -> None:
    head = GOOD[: GOOD.index("  model")] + "  storage: {directory: store}\n"
    text = head + spec % SECOND[second][state]
    found = messages(tmp_path, text)
    told = [m for m in found if f" {where}: holds " in m]
    assert len(told) == 1 and {first, second} < set(told[0].replace(";", "").split()), found
    inside = [m for m in found if f" {where}.{second}" in m]
    assert len(inside) == (state != "good"), found
    if second != "plateau":
        assert len(found) == 1 + len(inside), found


def test_all_is_told_where_two_kinds_are_given_and_a_union_inside_is_double(tmp_path: Path) -> None:
    found = messages(
        tmp_path,
        GOOD.replace("{path: base}", "{path: ./m, hub: {id: foo/bar}}").replace(
            "stop: {steps: 10}}",
            "temperature: {fixed: 1, targetEntropy: 0.3}, stop: {steps: ten}}\n    evaluate: {}",
        ),
    )
    assert [message.split(": ")[1] for message in found] == [
        "spec.model",
        "spec.model.hub.revision",
        "spec.stages[1]",
        "spec.stages[1].mathRL.temperature",
        "spec.stages[1].mathRL.temperature.targetEntropy",
        "spec.stages[1].mathRL.stop.steps",
        "spec.stages[1].evaluate.sets",
    ]
