"""GPUs that a stage asks for and that nobody would use: no error, but worth a sentence.

Training is shared by all ranks. What only measures a model (an evaluation, a pass rate) is drawn by
the first one, and curation by rules asks no model at all.
"""

from acereason_trainer.config.curate import Curate
from acereason_trainer.config.evaluate import Evaluate

from acereason_operator.api.run import AceReasonRunSpec, Stage


def idle_gpus(spec: AceReasonRunSpec) -> list[str]:
    """A sentence for each stage with GPUs to spare."""
    found = []
    for stage in spec.stages:
        own, default = stage.gpus_per_node, spec.defaults.gpus_per_node
        each = (default if own is None else own) or 0
        nodes = stage.nodes or spec.defaults.nodes or 1
        used = _used(stage)
        if used is not None and each * nodes > used:
            right = f"gpusPerNode: {used}" + (" and nodes: 1" if nodes > 1 else "")
            why = "one process draws its answers" if used else "rules ask no model"
            found.append(
                f"stage {stage.name} asks for {each * nodes} GPUs and uses {used or 'none'}, since "
                f"{why}; set {right} on it"
            )
    return found


def _used(stage: Stage) -> int | None:
    """GPUs that it can use; None: all that it is given."""
    settings = stage.settings
    if isinstance(settings, Evaluate):
        return 1
    if isinstance(settings, Curate):
        return 0 if settings.pass_rate is None else 1
    return None
