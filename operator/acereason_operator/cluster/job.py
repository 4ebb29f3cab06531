"""A phase of an attempt as a Job: what the planner decided, in Kubernetes' words.

A Job is POSTed once under a deterministic name and never changed: another attempt is another Job.
It ends with its first failed pod (`backoffLimit: 0`) and keeps no clock of its own: who pays, when
it is tried again and when it is removed are the planner's decisions. The pod failure policy only
ends an attempt early, where its peers can't go on either. Exit codes 75 and 143 are not in it: pods
of a Job that a queue suspends end with them, and the Job would fail for good.
"""

from acereason_trainer.config.exit_codes import ExitCode

from acereason_operator.api.run import GROUP, KIND, VERSION, AceReasonRun, Queue
from acereason_operator.cluster import labels, prepare_pod, train_pod
from acereason_operator.cluster.protocol import Object
from acereason_operator.cluster.rendering import Rendering
from acereason_operator.planner.actions import CreateJob

HOPELESS = (ExitCode.CORRUPT_INPUT, ExitCode.BAD_CONFIGURATION)
"""Codes that one pod ends with and no peer can mend."""


def job_for(action: CreateJob, run: AceReasonRun, options: Rendering) -> Object:
    """The Job of one phase, ready to be POSTed.

    run: as read from the API server (namespace and uid set), without anything that
    `storage.unsupported` names, and with the action's stage.
    """
    stage = next(s for s in run.spec.stages if s.name == action.stage)
    if action.phase == "Prepare":
        pod = prepare_pod.prepare_pod(action, run, stage, options)
        return _job(action, run, pod, prepare_pod.CONTAINER, 1)
    pod = train_pod.train_pod(action, run, stage, options)
    job = _job(action, run, pod, train_pod.CONTAINER, action.stage_file.nodes)
    return _queued(job, run.spec.queue) if run.spec.queue else job


def owner_reference(run: AceReasonRun) -> Object:
    """What makes an object go when its run goes. It does not hold up the run's deletion."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _job(
    action: CreateJob, run: AceReasonRun, pod: Object, container: str, nodes: int
) -> Object:  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": action.name,
            "namespace": run.metadata.namespace,
            "labels": labels.of_phase(
                run.metadata.name, action.stage, action.attempt, action.phase
            ),
            "ownerReferences": [owner_reference(run)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": container,
                            "operator": "In",
                            "values": [int(code) for code in HOPELESS],
                        },
                    },
                    {
                        "action": "FailJob",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": pod,
        },
    }


def _queued(job: Object, queue: Queue) -> Object:
    """Held back until whoever admits it lets it start."""
    job["metadata"]["labels"][labels.QUEUE] = queue.name
    if queue.priority_class:
        job["metadata"]["labels"][labels.QUEUE_PRIORITY] = queue.priority_class
    job["spec"]["suspend"] = True
    return job
