"""GPUs that a stage asks for and that nobody would use: no error, but worth a sentence.

All ranks share training and the attempts at a model's measurement; curation by rules asks no model.
"""

from acereason_trainer.config.curate import Curate

from acereason_operator.api.run import AceReasonRunSpec


def idle_gpus(spec: AceReasonRunSpec) -> list[str]:
    """A sentence for each stage with GPUs that it cannot use."""
    found = []
    for stage in spec.stages:
        own, default = stage.gpus_per_node, spec.defaults.gpus_per_node
        gpus = ((default if own is None else own) or 0) * (stage.nodes or spec.defaults.nodes or 1)
        if gpus and isinstance(stage.settings, Curate) and stage.settings.pass_rate is None:
            found.append(
                f"stage {stage.name} asks for {gpus} GPUs and uses none, since rules ask no model; "
                "set gpusPerNode: 0 on it"
            )
    return found
