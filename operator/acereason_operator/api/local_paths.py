"""Paths in a run file that must exist on this machine before a local run can start."""

from collections.abc import Collection
from os.path import normpath
from pathlib import Path as FilePath

from acereason_trainer.config.problems import Path, Problem

from acereason_operator.api.facts import facts_of
from acereason_operator.api.yaml_loader import Document


def missing_paths(
    document: Document, directory: FilePath, but: Collection[str] = ()
) -> list[Problem]:
    """A problem for each path of a run that leads nowhere; relative ones start at `directory`.

    Those in `but`, as they are written, need not be there.
    """
    if not isinstance(document.data, dict):
        return []
    facts = facts_of(document.data.get("spec"))
    named: dict[Path, str] = dict(facts.model_paths)
    for i, stage in enumerate(facts.stages):
        for place, source in stage.sources.items():
            if source.path is not None:
                named[("stages", i, *place, "path")] = source.path
    return [
        document.problem(
            ("spec", *place), f"{normpath(directory / text)} does not exist; correct it or make it"
        )
        for place, text in named.items()
        if text not in but and not (directory / text).exists()
    ]
