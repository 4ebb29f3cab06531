"""Sentences for the person who is paged: which stage, what happened, where to look, what to do."""

from datetime import timedelta
from math import ceil

from acereason_operator.planner.failures import BadEnd, Verdict
from acereason_operator.planner.observed import Phase
from acereason_operator.planner.scene import Scene

WHAT_TO_DO: dict[Verdict, str] = {
    "BadConfiguration": "correct the stage and {apply} the run again",
    "User": "correct what the log shows and edit the stage, or raise retries.user",
    "HealthStop": "edit the stage (a lower learning rate, easier data), or raise retries.user",
    "Infrastructure": "see to the machines, then raise retries.infrastructure",
    "CorruptInput": "see to the storage, then raise retries.infrastructure",
    "Stopped": "see who stops it (on a cluster a livenessProbe or an activeDeadlineSeconds of a"
    " podTemplate, or somebody who deletes its pods), then raise retries.infrastructure",
}
"""apply: how an edit reaches the run."""

NOT_IN_THE_RUN = (
    "; where the cause is not in the run, remove it, then suspend the run, kubectl wait -n"
    " {namespace} --for=condition=Suspended arr/{run}, and resume it"
)
"""To apply the same file once more changes nothing on a cluster (`edits.py`), nor do two patches
that are seen as one."""

BAD_DATA = "BadData"
"""Reason of a stage whose settings are right and whose data is not."""


LONGEST = 4096
"""Characters of a text in status: a pod's record, an image registry and an API server write into
them, and a status that is too large is refused for ever."""


def fitting(text: str) -> str:
    """The text, without its middle where it is too long: the advice stands at the end."""
    half = LONGEST // 2 - 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"


def what_to_do(verdict: Verdict, reason: str, scene: Scene) -> str:
    """The advice after `try:`."""
    if verdict == "BadConfiguration" and reason == BAD_DATA:
        advice = (
            "correct the file, or map its columns with columns: in a curate stage, and {apply} the "
            "run again"
        )
        return _here(advice, scene)
    return _here(WHAT_TO_DO[verdict], scene)


def of_corrupt_source(name: str, said: str, scene: Scene) -> str:
    """A sentence on an input that is corrupt and was not made by this run."""
    advice = _here("restore it, or name another source, and {apply} the run again", scene)
    return (
        f"stage {scene.stage.name}: input {name} does not match its digest and was not made by this"
        f" run ({said.rstrip('.')}). try: {advice}"
    )


def _here(advice: str, scene: Scene) -> str:
    """The advice for where the run is. (On a laptop, whoever starts a run again has it tried.)"""
    if scene.context.one_process:
        return advice.format(apply="start")
    where = {"namespace": scene.namespace, "run": scene.run.metadata.name}
    return advice.format(apply="apply") + NOT_IN_THE_RUN.format_map(where)


def of_bad_end(bad: BadEnd, attempt: int, phase: Phase, budget: str, scene: Scene) -> str:
    """`stage math-16k: rank 3 ran out of memory on node gpu-7 (attempt 2, exit 1, 2 of 3 attempts
    used). log: ...`"""
    where = f" on node {bad.node}" if bad.node and bad.node not in bad.what else ""
    facts = [f"attempt {attempt}", f"exit {bad.exit_code}" if bad.exit_code else "", budget]
    doing = "" if phase == "Train" else " while preparing"
    what = bad.what.rstrip(".")
    details = ", ".join(fact for fact in facts if fact)
    log = log_hint(bad, attempt, phase, scene)
    return f"stage {scene.stage.name}{doing}: {what}{where} ({details}). log: {log}"


def of_publishing(seconds: float | None, grace: timedelta) -> str:
    """A sentence where publishing took longer than a stop leaves time for; else empty.

    seconds: as measured, if it was. The launcher then lets the last periodic state stand instead of
    publishing the last step, so nothing is wrong and some work is lost at every stop.
    """
    if seconds is None or seconds <= grace.total_seconds():
        return ""
    return (
        f"publishing took {seconds:.0f} s and gracePeriod is {grace.total_seconds():.0f} s, so a "
        f"stop keeps the last periodic state only. try: gracePeriod: {ceil(2 * seconds)}s"
    )


def log_hint(bad: BadEnd, attempt: int, phase: Phase, scene: Scene) -> str:
    """How to read the log, in the words of this environment."""
    meta = scene.run.metadata
    job = scene.job_name(attempt, phase)
    of_train = "launcher.log" if bad.rank is None else f"rank-{bad.rank}.log"
    return scene.context.log_hint.format(
        run=meta.name, namespace=scene.namespace, stage=scene.stage.name, attempt=attempt,
        phase=phase.lower(), job=job, pod=bad.pod or f"job/{job}", store=scene.context.store,
        log="prepare.log" if phase == "Prepare" else of_train,
    )  # fmt: skip
