"""The CRD on a real API server: it refuses what `acereason validate` refuses, and nothing else."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.api.load import load_run, read_documents
from acereason_operator.api.run import AceReasonRun
from acereason_operator.cli.validate import validate_files

from tests.controlplane.control_plane import ControlPlane

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WRONG = sorted((HERE / "run_files/wrong").glob("*.yaml"))
RIGHT = sorted((HERE / "run_files/right").glob("*.yaml"))
EXAMPLES = [*sorted((ROOT / "examples").glob("*.yaml")), HERE / "every_field.yaml"]
DIFFERENT = yaml.safe_load((HERE / "run_files/different_verdicts.yaml").read_text())
"""Reason, by file, where the API server takes what `validate` refuses."""


@pytest.fixture(scope="module")
def refusals(control_plane: ControlPlane) -> dict[str, str]:
    """What the API server says of each file of the corpus that it refuses, by the file's name."""
    namespace = control_plane.new_namespace("corpus")
    said: dict[str, str] = {}
    for folder in ("wrong", "right"):
        done = kubectl(
            control_plane, "create", "--dry-run=server", "-n", namespace,
            "-f", str(HERE / "run_files" / folder),
        )  # fmt: skip
        # One line may tell of several files: what follows a file's name is about that file.
        parts = re.split(rf"run_files/{folder}/([-a-z0-9]+)\.yaml", done.stderr)
        for name, words in zip(parts[1::2], parts[2::2], strict=True):
            said[name] = said.get(name, "") + words
    return said


def kubectl(
    control_plane: ControlPlane, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """kubectl's end and words, whether it succeeds or not."""
    try:
        return subprocess.CompletedProcess(
            arguments, 0, control_plane.kubectl(*arguments, stdin=stdin), ""
        )
    except subprocess.CalledProcessError as error:
        return subprocess.CompletedProcess(arguments, 1, error.stdout, error.stderr)


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(WRONG) >= 60
    assert len(RIGHT) >= 20


@pytest.mark.parametrize("file", WRONG, ids=lambda file: file.stem)
def test_a_wrong_file_gets_the_same_verdict_from_both(file: Path, refusals: dict[str, str]) -> None:
    assert validate_files([file]), "validate takes it"
    assert (file.stem in refusals) == (file.stem not in DIFFERENT), refusals.get(file.stem)


@pytest.mark.parametrize("file", RIGHT, ids=lambda file: file.stem)
def test_a_right_file_gets_the_same_verdict_from_both(file: Path, refusals: dict[str, str]) -> None:
    assert [str(problem) for problem in validate_files([file])] == []
    assert refusals.get(file.stem) is None


def test_each_different_verdict_has_a_reason_and_a_file() -> None:
    assert set(DIFFERENT) <= {file.stem for file in WRONG}
    assert all(DIFFERENT.values())


@pytest.mark.parametrize("file", [*EXAMPLES, *RIGHT], ids=lambda file: file.stem)
def test_a_run_means_the_same_after_the_api_server_has_stored_it(
    file: Path, control_plane: ControlPlane
) -> None:
    written = load_run(file, [], []).run
    assert written is not None
    document = read_documents(file)[0].data
    document["metadata"].pop("namespace", None)
    path = f"{runs('default')}?fieldValidation=Strict&dryRun=All"
    stored = control_plane.request("POST", path, document)
    assert AceReasonRun.parse(stored).spec == written.spec


def runs(namespace: str) -> str:
    """Path of the runs of a namespace."""
    return f"/apis/acereason.dev/v1alpha1/namespaces/{namespace}/acereasonruns"


SENTENCES = [
    ("name-with-dots", "use at most 40 lower-case letters, digits and -"),
    ("model-from-two-places", "needs exactly one of hub, path, artifact, fromConfig"),
    ("stage-of-two-kinds", "needs exactly one of curate, sft, mathRL, codeRL, evaluate"),
    ("stage-name-twice", 'spec.stages[1]: Duplicate value: {"name":"prompts"}'),
    ("group-size-of-one", "gives no spread to learn from; use 2 or more (the papers: 8 or 16)"),
    ("number-in-quotes", 'must be of type number: "string"'),
    ("name-is-on", "cannot unmarshal bool into Go struct field ObjectMeta.metadata.name"),
    ("field-misspelt", 'unknown field "spec.stages[1].mathRL.maxResponseToken"'),
    ("duration-in-words", "write a number with h, m, s or ms, as in 1h30m or 90s"),
    ("deadline-of-nothing", "would end every attempt at once; use more, or leave it out"),
    ("amount-no-cpu", "0 CPUs cannot run anything; ask for more, as in 1 or 500m"),
    ("pass-rate-keeps-everything", "maxCorrect is above samples, which would keep everything"),
    ("plateau-without-validation", "a plateau is seen by validation, which is not set"),
    ("best-checkpoint-without-validation", "the best checkpoint is found by validation, which"),
    ("entropy-band-upside-down", "min is not below max; swap them"),
    ("goes-on-after-what-is-not-looked-for", "goOn names what is not looked for"),
    ("problems-held-out-and-given", "validation.heldOutShare stands in the place of"),
    ("warm-up-longer-than-the-stage", "the stage ends before the warm-up does; warm up for fewer"),
    ("decay-over-epochs-that-shrink", "leave open after how many steps the epochs end"),
    ("sft-row-larger-than-its-micro-batch", "tokensPerMicroBatch is below rowTokens; one packed"),
    ("needs-a-stage-that-does-not-exist", "needs names a stage that does not exist"),
    ("needs-a-stage-below", "a stage can need only what is above it; move one of them"),
    ("first-stage-without-data", "add inputs: {data: {path: ...}}"),
    ("two-nodes-on-a-claim-of-one", "set storage.claimTemplate.accessMode: ReadWriteMany"),
    ("word-not-among-the-choices", 'supported values: "penalize", "mask"'),
]


@pytest.mark.parametrize(("file", "words"), SENTENCES, ids=[case[0] for case in SENTENCES])
def test_the_api_server_says_what_is_wrong(file: str, words: str, refusals: dict[str, str]) -> None:
    assert words in refusals[file]


STAGES: list[dict[str, Any]] = [
    {"name": "prompts", "inputs": {"data": {"path": "/d"}}, "curate": {"maxRows": 9}},
    {"name": "sft", "sft": {"rowTokens": 1024, "budget": {"steps": 200}}},
    {"name": "math", "needs": ["sft", "prompts"], "mathRL": {"verifier": {"mathSeconds": 5}}},
]


def a_run(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """A run named `r`, as JSON."""
    return {
        "apiVersion": "acereason.dev/v1alpha1",
        "kind": "AceReasonRun",
        "metadata": {"name": "r"},
        "spec": {"model": {"path": "/m"}, "storage": {"claim": "c"}, "stages": stages},
    }


Edit = Callable[[dict[str, Any]], Any]

MADE = "settings and inputs of a stage that has finished cannot be edited"
EDITS: list[tuple[str, Edit, str]] = [
    ("another row", lambda s: s["stages"][0]["curate"].update(maxRows=8), MADE),
    ("a new key", lambda s: s["stages"][1]["sft"].update(rowsPerStep=8), MADE),
    ("a block gone", lambda s: s["stages"][1]["sft"].pop("budget"), MADE),
    ("another kind", lambda s: s["stages"].__setitem__(1, {"name": "sft", "mathRL": {}}), MADE),
    ("another input", lambda s: s["stages"][0]["inputs"]["data"].update(path="/e"), MADE),
    ("another seed", lambda s: s.update(seed=1), "spec.seed: stages have finished"),
    ("another volume", lambda s: s.update(storage={"claim": "d"}), "spec.storage: stages have"),
    ("a new volume", lambda s: s.update(storage={"claimTemplate": {"name": "d", "storage": "1"}}),
     "spec.storage: stages have finished"),
    ("the volume's template", lambda s: s.update(storage={"claimTemplate": {"name": "c",
                                                                            "storage": "1"}}), ""),
    ("another model", lambda s: s.update(model={"path": "/n"}), "spec.model: stages have finished"),
    ("a finished stage gone, and the seed", lambda s: (s.update(seed=1), s["stages"].pop(1)),
     "spec.seed: stages have finished"),
    ("what is in no key", lambda s: s["stages"][1]["sft"].update(tokensPerMicroBatch=4096), ""),
    ("saving", lambda s: s["stages"][1]["sft"].update(saving={"keep": 3}), ""),
    ("what it runs on", lambda s: s["stages"][1].update(nodes=2, image="other"), ""),
    ("a default written out", lambda s: s["stages"][1]["sft"].update(loading={}, mix=[]), ""),
    ("more checkers", lambda s: s["stages"][0]["curate"].update(telemetry={"metricsPort": 1}), ""),
    ("a filter more", lambda s: s["stages"][0]["curate"].update(passRate={}), MADE),
    ("a later stage", lambda s: s["stages"][2]["mathRL"].update(promptsPerStep=8), ""),
    ("a stage more", lambda s: s["stages"].append({"name": "more", "needs": ["math", "prompts"],
                                                  "codeRL": {}}), ""),
    ("holding the run", lambda s: s.update(suspend=True), ""),
]  # fmt: skip


@pytest.mark.parametrize(("why", "edit", "refusal"), EDITS, ids=[case[0] for case in EDITS])
def test_what_a_finished_stage_was_made_from_cannot_be_edited(
    why: str, edit: Edit, refusal: str, control_plane: ControlPlane, finished: str
) -> None:
    run = control_plane.request("GET", f"{runs(finished)}/r")
    edit(run["spec"])
    done = kubectl(control_plane, "replace", "--dry-run=server", "-f", "-", stdin=json.dumps(run))
    assert (done.returncode == 0) == (refusal == ""), done.stderr
    assert refusal in done.stderr
    assert "<nil>" not in done.stderr


def curation_and_model(spec: dict[str, Any]) -> None:
    """The model may be edited where only a curation has finished, and its rows may not."""
    spec.update(model={"path": "/n"})
    spec["stages"][0]["curate"].update(maxRows=8)


@pytest.mark.parametrize(
    ("finished", "edit", "refusal"),
    [
        ("prompts", curation_and_model, MADE),
        ("prompts", lambda s: s.update(model={"path": "/n"}), ""),
        ("prompts", lambda s: s.update(seed=1), "spec.seed: stages have finished"),
        ("no longer there", lambda s: s.update(seed=1), ""),
    ],
)
def test_only_what_a_finished_stage_of_the_run_read_cannot_be_edited(
    finished: str, edit: Edit, refusal: str, control_plane: ControlPlane
) -> None:
    namespace = control_plane.new_namespace("finished")
    run = control_plane.request("POST", runs(namespace), a_run(STAGES))
    run["status"] = {"stages": [{"name": finished, "state": "Complete"}]}
    run = control_plane.request("PUT", f"{runs(namespace)}/r/status", run)
    edit(run["spec"])
    done = kubectl(control_plane, "replace", "--dry-run=server", "-f", "-", stdin=json.dumps(run))
    assert (done.returncode == 0) == (refusal == ""), done.stderr
    assert refusal in done.stderr


@pytest.fixture(scope="module")
def finished(control_plane: ControlPlane) -> str:
    """Namespace of a run of which two stages have finished."""
    namespace = control_plane.new_namespace("finished")
    run = control_plane.request("POST", runs(namespace), a_run(STAGES))
    run["status"] = {
        "state": "Running",
        "stage": "math",
        "progress": "2/3 (7/100)",
        "attempt": "2",
        "reward": "0.512",
        "message": "",
        "stages": [
            {"name": "prompts", "state": "Complete"},
            {"name": "sft", "state": "Reused"},
            {"name": "math", "state": "Running"},
        ],
    }
    control_plane.request("PUT", f"{runs(namespace)}/r/status", run)
    return namespace


def test_kubectl_get_shows_where_a_run_is(control_plane: ControlPlane, finished: str) -> None:
    table = control_plane.kubectl("get", "arr", "-n", finished, "-o", "wide").splitlines()
    assert table[0].split() == [
        "NAME", "STATE", "STAGE", "PROGRESS", "ATTEMPT", "REWARD", "MESSAGE", "AGE",
    ]  # fmt: skip
    assert table[1].split()[:7] == ["r", "Running", "math", "2/3", "(7/100)", "2", "0.512"]
    short = control_plane.kubectl("get", "arr", "-n", finished).splitlines()
    assert short[0].split() == ["NAME", "STATE", "STAGE", "PROGRESS", "AGE"]


def test_kubectl_explain_tells_what_a_field_is(control_plane: ControlPlane) -> None:
    stages = control_plane.kubectl("explain", "arr.spec.stages")
    assert "The recipe. A stage needs the one above it unless it says otherwise." in stages
    assert "Learn from checked math answers." in stages
    length = control_plane.kubectl("explain", "arr.spec.stages.mathRL.maxResponseTokens")
    assert "what grows from stage to stage" in " ".join(length.split())


def test_a_stage_put_in_between_by_server_side_apply_stays_there(
    control_plane: ControlPlane,
) -> None:
    """The order of stages means something, and the list is keyed by name."""
    namespace = control_plane.new_namespace("order")
    between = [STAGES[0], {"name": "base", "sft": {}}, *STAGES[1:]]
    for stages in (STAGES, between):
        text = json.dumps(a_run(stages))
        control_plane.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", stdin=text)
    run = control_plane.request("GET", f"{runs(namespace)}/r")
    assert [s["name"] for s in run["spec"]["stages"]] == ["prompts", "base", "sft", "math"]
