"""What a phase of an attempt looks like as a Job, and what a run needs beside it.

Snapshots lie in `golden/`; `ACEREASON_WRITE_GOLDEN=1` writes them anew, and the diff is for a
person to read.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from acereason_operator.api.load import load_run
from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster import labels
from acereason_operator.cluster.job import job_for
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.run_objects import objects_for
from acereason_operator.cluster.storage import unsupported
from acereason_operator.planner.observed import Phase
from acereason_trainer.config.stage_file import StageFile
from hypothesis import given
from hypothesis import strategies as st
from rendering_builders import BIG, DATA, OPTIONS, SFT, SNAPSHOTS, a_run, an_action, rendered

GOLDEN = Path(__file__).with_name("golden")


def shown(body: Object) -> Object:
    """The object with a word in the place of the stage file, which has tests of its own."""
    text = json.loads(json.dumps(body))
    annotations = text.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations")
    if annotations:
        annotations[labels.STAGE_FILE] = "(the stage file)"
    return text


def spec_of(job: Object) -> Object:
    return job["spec"]["template"]["spec"]


def stage_container(job: Object) -> Object:
    return spec_of(job)["containers"][0]


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_what_is_rendered_is_what_was_reviewed(name: str) -> None:
    bodies = [shown(body) for body in SNAPSHOTS[name]()]
    text = yaml.safe_dump_all(bodies, sort_keys=False, width=100)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("ACEREASON_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_a_container_reads_the_stage_file_that_was_decided() -> None:
    action = an_action(run := a_run())
    job = job_for(action, run, OPTIONS)
    told = StageFile.parse_json(
        job["spec"]["template"]["metadata"]["annotations"][labels.STAGE_FILE]
    )
    assert told.prepared == action.stage_file.prepared
    assert told.settings.settings.telemetry.metrics_port == OPTIONS.metrics_port
    assert told.model_copy(update={"settings": action.stage_file.settings}) == action.stage_file


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ({"name": "s", "curate": {"decontamination": None}}, "curate"),
        ({"name": "s", "sft": {}}, "sft"),
        ({"name": "s", "mathRL": {}}, "mathRL"),
        ({"name": "s", "codeRL": {}}, "codeRL"),
        ({"name": "s", "evaluate": {"sets": [{"name": "a", "file": "a"}]}}, "evaluate"),
    ],
)
def test_every_kind_of_stage_serves_its_metrics(stage: dict[str, Any], field: str) -> None:
    run, port = a_run(stages=[{"inputs": DATA, **stage}]), OPTIONS.metrics_port
    job = rendered(run, stage="s")
    text = job["spec"]["template"]["metadata"]["annotations"][labels.STAGE_FILE]
    assert json.loads(text)["settings"][field]["telemetry"]["metricsPort"] == port
    assert stage_container(job)["ports"] == [{"name": "metrics", "containerPort": port}]


def test_a_stage_that_names_its_metrics_port_keeps_it() -> None:
    run = a_run(stages=[{**SFT, "sft": {"telemetry": {"metricsPort": 7777}}}])
    assert stage_container(rendered(run))["ports"] == [{"name": "metrics", "containerPort": 7777}]


def test_no_pod_template_changes_what_the_operator_reads() -> None:
    taken = {
        "metadata": {
            "labels": {labels.RUN: "other", labels.PHASE: "x", "mine": "stays"},
            "annotations": {labels.STAGE_FILE: "{}"},
        }
    }
    run = a_run(defaults={"podTemplate": taken, "preparePodTemplate": taken})
    for phase in ("Prepare", "Train"):
        meta = rendered(run, phase=phase)["spec"]["template"]["metadata"]
        assert meta["labels"][labels.RUN] == "qwen-7b"
        assert meta["labels"][labels.PHASE] == phase.lower()
        assert meta["labels"]["mine"] == "stays"
        assert StageFile.parse_json(meta["annotations"][labels.STAGE_FILE]).run == "qwen-7b"


LEAVES = st.none() | st.integers(0, 2) | st.sampled_from(["stage", "prepare", "x"])
KEYS = st.sampled_from(
    ["metadata", "spec", "containers", "name", "volumes", "annotations", "labels", "env", "x"]
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(st.dictionaries(KEYS, ANYTHING, max_size=4), st.dictionaries(KEYS, ANYTHING, max_size=4))
def test_no_pod_template_stops_the_operator(defaults: Any, stage: Any) -> None:
    """What makes no sense is for the API server to refuse, with its sentence."""
    run = a_run(
        defaults={"podTemplate": defaults, "preparePodTemplate": stage},
        stages=[{**SFT, "podTemplate": stage, "preparePodTemplate": defaults}],
    )
    for phase in ("Prepare", "Train"):
        template = rendered(run, phase=phase)["spec"]["template"]
        assert template["metadata"]["labels"][labels.RUN] == "qwen-7b"


def test_no_value_of_a_secret_is_in_a_job_only_its_name() -> None:
    for phase in ("Prepare", "Train"):
        env = stage_container(rendered(a_run(**BIG), phase=phase))["env"]
        assert {
            "name": "HF_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}},
        } in env


def test_a_stages_variable_replaces_the_defaults_and_ours() -> None:
    env = [{"name": "HOME", "value": "/scratch"}, {"name": "A", "value": "default"}]
    run = a_run(defaults={"env": env}, stages=[{**SFT, "env": [{"name": "A", "value": "stage"}]}])
    values = {v["name"]: v["value"] for v in stage_container(rendered(run))["env"]}
    assert (values["HOME"], values["A"]) == ("/scratch", "stage")
    names = [v["name"] for v in stage_container(rendered(run))["env"]]
    assert len(names) == len(set(names))


def test_training_is_told_of_the_verifier_service_and_a_run_may_name_another() -> None:
    def told(run: AceReasonRun, phase: Phase, url: str) -> str | None:
        options = replace(OPTIONS, verifier_url=url)
        env = stage_container(job_for(an_action(run, phase=phase), run, options))["env"]
        return {v["name"]: v.get("value") for v in env}.get("ACEREASON_VERIFIER_URL")

    url = "http://verifier.acereason:8321"
    own = a_run(defaults={"env": [{"name": "ACEREASON_VERIFIER_URL", "value": "http://mine:1"}]})
    assert told(a_run(), "Train", url) == url
    assert told(own, "Train", url) == "http://mine:1"
    assert told(a_run(), "Train", "") is None
    assert told(a_run(), "Prepare", url) is None, "it checks no answers"


@pytest.mark.parametrize(
    ("grace", "seconds", "why"),
    [
        (None, 40, "a pod's 30 s, and time for the launcher's own end"),
        ("5m", 310, "what was asked for"),
        ("1500ms", 12, "Kubernetes has whole seconds: never less than was asked for"),
    ],
)
def test_the_pod_outlives_the_launchers_grace_period(
    grace: str | None, seconds: int, why: str
) -> None:
    run = a_run(defaults={"gracePeriod": grace} if grace else {})
    assert spec_of(rendered(run))["terminationGracePeriodSeconds"] == seconds, why


@pytest.mark.parametrize(
    ("resources", "gpus", "threads"),
    [
        ({"requests": {"cpu": 64}}, 8, "8"),
        ({"requests": {"cpu": "500m"}}, 0, "1"),
        ({"requests": {"cpu": 3}}, 2, "2"),
        ({}, 8, None),
    ],
)
def test_ranks_share_the_cpus_that_their_pod_asks_for(
    resources: dict[str, Any], gpus: int, threads: str | None
) -> None:
    run = a_run(defaults={"resources": resources, "gpusPerNode": gpus})
    values = {v["name"]: v.get("value") for v in stage_container(rendered(run))["env"]}
    assert values.get("OMP_NUM_THREADS") == threads


def test_a_gpu_resource_that_a_stage_names_itself_is_not_asked_for_twice() -> None:
    limits = {"nvidia.com/gpu": 4}
    run = a_run(defaults={"gpusPerNode": 8, "resources": {"limits": limits}})
    assert stage_container(rendered(run))["resources"]["limits"] == limits


def test_without_the_restricted_standard_the_image_decides_who_it_runs_as() -> None:
    options = replace(OPTIONS, security="image")
    for phase in ("Prepare", "Train"):
        job = job_for(an_action(run := a_run(), phase=phase), run, options)
        assert "securityContext" not in spec_of(job)
        assert "securityContext" not in stage_container(job)
        assert "/tmp" not in mounts(job)


def mounts(job: Object) -> dict[str, Object]:
    """Volumes of the first container, by where it has them."""
    volumes = {volume["name"]: volume for volume in spec_of(job)["volumes"]}
    return {m["mountPath"]: volumes[m["name"]] for m in stage_container(job)["volumeMounts"]}


@pytest.mark.parametrize("phase", ["Prepare", "Train"])
def test_a_pod_writes_to_its_store_and_tmp_alone_and_its_home_is_there(phase: Phase) -> None:
    job = rendered(a_run(), phase=phase)
    assert stage_container(job)["securityContext"]["readOnlyRootFilesystem"] is True
    assert mounts(job)["/tmp"] == {"name": "tmp", "emptyDir": {}}
    assert {"name": "HOME", "value": "/tmp"} in stage_container(job)["env"]


def test_a_run_may_have_a_tmp_of_its_own_and_a_root_that_can_be_written() -> None:
    disk = {"name": "disk", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    stage = {
        "name": "stage",
        "volumeMounts": [{"name": "disk", "mountPath": "/tmp"}],
        "securityContext": {"readOnlyRootFilesystem": False},
    }
    run = a_run(defaults={"podTemplate": {"spec": {"volumes": [disk], "containers": [stage]}}})
    for phase in ("Prepare", "Train"):
        assert mounts(rendered(run, phase=phase))["/tmp"] == disk
    assert stage_container(rendered(run))["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("defaults", "stage", "named"),
    [
        ({}, {}, OPTIONS.trainer_image),
        ({"image": "a:1"}, {}, "a:1"),
        ({"image": "a:1"}, {"image": "b:1"}, "b:1"),
        ({"podTemplate": {"spec": {"containers": [{"name": "stage", "image": "c:1"}]}}},
         {"image": "b:1"}, "c:1"),
        ({"env": [{"name": "ACEREASON_IMAGE", "value": "ours@sha256:12"}]}, {}, "ours@sha256:12"),
    ],
    ids=["the installation's", "the run's", "the stage's", "a podTemplate's", "what the run says"],
)  # fmt: skip
def test_a_stage_is_told_the_image_that_its_manifest_names(
    defaults: dict[str, Any], stage: dict[str, Any], named: str
) -> None:
    container = stage_container(rendered(a_run(defaults=defaults, stages=[{**SFT, **stage}])))
    told = {v["name"]: v.get("value") for v in container["env"]}
    assert told["ACEREASON_IMAGE"] == named
    assert container["image"] == named or "env" in defaults


def test_a_cluster_that_assigns_users_is_not_told_one() -> None:
    job = job_for(an_action(run := a_run()), run, replace(OPTIONS, user=None))
    assert spec_of(job)["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_prepare_never_waits_in_a_queue_nor_for_a_gpu() -> None:
    job = rendered(a_run(**BIG), phase="Prepare")
    assert labels.QUEUE not in job["metadata"]["labels"]
    assert "suspend" not in job["spec"]
    asked = stage_container(job)["resources"]
    assert set(asked["requests"]) | set(asked["limits"]) == {"cpu", "memory"}
    assert "nodeSelector" not in spec_of(job)


def test_prepare_goes_where_its_own_template_says_and_training_does_not() -> None:
    """Images may be for one architecture, and GPU nodes be of another."""
    larger = {"name": "prepare", "resources": {"limits": {"memory": "16Gi"}}}
    amd64 = {"kubernetes.io/arch": "amd64"}
    run = a_run(
        defaults={
            "podTemplate": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}},
            "preparePodTemplate": {"spec": {"nodeSelector": amd64, "containers": [larger]}},
        },
        stages=[{**SFT, "preparePodTemplate": {"spec": {"runtimeClassName": "gvisor"}}}],
    )
    prepare, train = rendered(run, phase="Prepare"), rendered(run)
    assert stage_container(prepare)["resources"]["limits"] == {"memory": "16Gi"}
    assert [c["name"] for c in spec_of(prepare)["containers"]] == ["prepare"]
    assert (spec_of(prepare)["nodeSelector"], spec_of(prepare)["runtimeClassName"]) == (
        amd64,
        "gvisor",
    )
    assert spec_of(train)["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert [c["name"] for c in spec_of(train)["containers"]] == ["stage"]
    assert "runtimeClassName" not in spec_of(train)


def test_a_run_whose_stages_have_one_node_has_no_service() -> None:
    kinds = [body["kind"] for body in objects_for(a_run())]
    assert kinds == ["NetworkPolicy"]


def test_a_claim_is_nobodys_child_and_all_else_is_the_runs() -> None:
    for body in objects_for(run := a_run(**BIG)):
        owners = body["metadata"].get("ownerReferences")
        if body["kind"] == "PersistentVolumeClaim":
            assert owners is None
        else:
            assert owners[0]["uid"] == run.metadata.uid


def test_a_run_made_again_under_its_name_has_another_service() -> None:
    """The old one is removed in the background, perhaps after the new one was made."""
    first, second = a_run(**BIG), a_run(**BIG)
    second = second.model_copy(
        update={"metadata": second.metadata.model_copy(update={"uid": "another"})}
    )
    names = {
        body["metadata"]["name"]
        for run in (first, second)
        for body in objects_for(run)
        if body["kind"] == "Service"
    }
    assert len(names) == 2


def test_the_longest_names_stay_within_what_a_pods_host_name_can_be() -> None:
    name, stage = "r" * 40, "s" * 40
    run = a_run(name, stages=[{**SFT, "name": stage}], defaults={"nodes": 4096})
    job = rendered(run, stage=stage, attempt=1021)
    assert len(f"{job['metadata']['name']}-4095") <= 63
    assert len(spec_of(job)["subdomain"]) <= 63
    for of in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert all(len(value) <= 63 for value in of.values())


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ({"claim": "runs"}, None),
        ({"claimTemplate": {"name": "runs", "storage": "1Ti"}}, None),
        ({"directory": "store"}, "spec.storage.directory is a directory of one machine"),
        ({"objectStore": "s3://bucket/runs"}, "object stores cannot be used yet"),
    ],
)
def test_storage_that_a_cluster_cannot_use_is_a_sentence(
    storage: dict[str, Any], sentence: str | None
) -> None:
    said = unsupported(a_run(storage=storage))
    assert said is None if sentence is None else sentence in (said or "")


def test_the_example_for_a_cluster_is_one_that_a_cluster_carries_out() -> None:
    file = Path(__file__).parents[2] / "examples/cluster.yaml"
    written = load_run(file, [], []).run
    assert written is not None
    body = written.dump()
    run = a_run(**body["spec"])
    assert unsupported(run) is None
    for stage in run.spec.stages:
        for phase in ("Prepare", "Train"):
            volumes = spec_of(rendered(run, stage=stage.name, phase=phase))["volumes"]
            assert {"claimName": "acereason"} in [v.get("persistentVolumeClaim") for v in volumes]
