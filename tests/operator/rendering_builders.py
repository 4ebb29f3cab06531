"""Runs as an API server has them, and the actions of the planner on them."""

from collections.abc import Callable
from typing import Any

from acereason_operator.api.run import AceReasonRun
from acereason_operator.cluster.job import job_for
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.cluster.run_objects import objects_for
from acereason_operator.planner import effective
from acereason_operator.planner.actions import CreateJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.names import job_name
from acereason_operator.planner.observed import Phase
from acereason_trainer.config.sources import ArtifactRef
from acereason_trainer.config.stage_file import Prepared, PreparedInputs, StageFile, StageSettings

UID = "5c9a1e7e-7c0f-4f6e-9f3c-2f0f5a1d9b10"
OPTIONS = Rendering(
    trainer_image="example.org/acereason/trainer:1", prepare_image="example.org/acereason/op:1"
)
CONTEXT = Context(store="/store", resolve=lambda path: path)

DATA = {"data": {"path": "/data/rows.jsonl"}}
SFT: dict[str, Any] = {"name": "sft", "sft": {}, "inputs": DATA}
BIG: dict[str, Any] = {
    "storage": {"claimTemplate": {"name": "runs", "storage": "2Ti", "storageClassName": "fast"}},
    "queue": {"name": "gpus", "priorityClass": "research"},
    "defaults": {
        "image": "example.org/team/trainer:7",
        "nodes": 2,
        "gpusPerNode": 8,
        "gracePeriod": "5m30s",
        "resources": {"requests": {"cpu": 64, "memory": "500Gi"}, "limits": {"memory": "900Gi"}},
        "env": [
            {"name": "NCCL_DEBUG", "value": "WARN"},
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        ],
        "podTemplate": {
            "metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "rdma"}},
            "spec": {
                "serviceAccountName": "research",
                "imagePullSecrets": [{"name": "registry"}],
                "nodeSelector": {"gpu": "h100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "volumes": [{"name": "corpora", "persistentVolumeClaim": {"claimName": "data"}}],
                "containers": [
                    {
                        "name": "stage",
                        "resources": {"limits": {"rdma/hca": 8}},
                        "securityContext": {"capabilities": {"add": ["IPC_LOCK"]}},
                        "volumeMounts": [
                            {"name": "corpora", "mountPath": "/data", "readOnly": True}
                        ],
                    },
                ],
                "initContainers": [
                    {"name": "exporter", "image": "example.org/dcgm:4", "restartPolicy": "Always"}
                ],
            },
        },
    },
    "stages": [
        {
            **SFT,
            "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
            "podTemplate": {"spec": {"nodeSelector": {"zone": "a"}, "priorityClassName": "high"}},
        }
    ],
}


def a_run(name: str = "qwen-7b", **spec: Any) -> AceReasonRun:
    """A run in namespace `default` with one SFT stage unless other stages are given."""
    return AceReasonRun.parse(run_body(name, UID, **spec))


def run_body(name: str = "qwen-7b", uid: str = "", **spec: Any) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "apiVersion": "acereason.dev/v1alpha1",
        "kind": "AceReasonRun",
        "metadata": {"name": name, "namespace": "default", **({"uid": uid} if uid else {})},
        "spec": {
            "model": {"path": "/data/base"},
            "storage": {"claim": "runs"},
            "stages": [
                {"name": "sft", "sft": {}, "inputs": {"data": {"path": "/data/rows.jsonl"}}}
            ],
            **spec,
        },
    }


def an_action(
    run: AceReasonRun, stage: str = "sft", phase: Phase = "Train", attempt: int = 1, **more: Any
) -> CreateJob:
    """The start of a phase, as the planner decides it."""
    of = next(s for s in run.spec.stages if s.name == stage)
    key = f"{of.kind}-{'0' * 32}"
    inputs = PreparedInputs(model=ArtifactRef(uri="artifacts/m", digest=f"sha256:{'1' * 64}"))
    file = StageFile(
        run=run.metadata.name,
        stage=stage,
        attempt=attempt,
        store="/store",
        settings=StageSettings(
            curate=of.curate, sft=of.sft, math_rl=of.math_rl, code_rl=of.code_rl,
            evaluate=of.evaluate,
        ),
        ranks=effective.ranks(run.spec, of, CONTEXT),
        nodes=effective.nodes(run.spec, of, CONTEXT),
        grace_seconds=effective.grace_period(run.spec, of).total_seconds(),
        prepared=Prepared(key=key, inputs=inputs) if phase == "Train" else None,
    )  # fmt: skip
    name = job_name(run.metadata.name, run.metadata.uid, stage, attempt, phase)
    return CreateJob(name, stage, attempt, phase, file, **more)


def rendered(run: AceReasonRun, **action: Any) -> Object:
    """The Job of a phase."""
    return job_for(an_action(run, **action), run, OPTIONS)


SNAPSHOTS: dict[str, Callable[[], list[Object]]] = {
    "one_cpu_stage": lambda: [rendered(a_run())],
    "two_nodes_of_eight_gpus": lambda: [rendered(a_run(**BIG), attempt=3)],
    "prepare": lambda: [rendered(a_run(**BIG), phase="Prepare", avoid_node="gpu-7")],
    "objects_of_a_run": lambda: list(objects_for(a_run(**BIG))),
}
"""What is held to a review (`golden/`) and to a real API server, by name."""
