"""From a run file to an `AceReasonRun`, or to everything that is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from acereason_trainer.config.faults import faults_of
from acereason_trainer.config.problems import Problem

from acereason_operator.api.checks import findings
from acereason_operator.api.empty_keys import EMPTY, empty_keys
from acereason_operator.api.facts import facts_of
from acereason_operator.api.overrides import apply_overrides
from acereason_operator.api.run import (
    GROUP,
    KIND,
    VERSION,
    AceReasonRun,
    AceReasonRunSpec,
    StagesDoNotFit,
)
from acereason_operator.api.yaml_loader import Document, load_documents


@dataclass(frozen=True)
class LoadedRun:
    """A run file as it was read."""

    run: AceReasonRun | None
    """The run; None where there are problems."""
    document: Document
    """What the file and the overrides say."""
    problems: list[Problem]
    """Everything that is wrong; empty when all is well."""


def read_documents(path: Path) -> list[Document]:
    """The YAML documents of a file; one with a problem where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = f"cannot be read ({error.strerror}); give the path of a run file"
        return [Document(str(path), None, problems=[Problem(str(path), None, "", why)])]
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 text ({error.reason} at byte {error.start})"
        return [Document(str(path), None, problems=[Problem(str(path), None, "", why)])]
    return load_documents(text, str(path))


def load_run(path: Path, sets: list[str], values: list[Path]) -> LoadedRun:
    """Read the one run of a file, with overrides applied. Never raises for what a file can hold."""
    documents = read_documents(path)
    if len(documents) != 1:
        why = f"holds {len(documents)} documents; a run file holds one {KIND}"
        nothing = Document(str(path), None, problems=[Problem(str(path), None, "", why)])
        return LoadedRun(None, nothing, nothing.problems)
    document = apply_overrides(documents[0], sets, values)
    return read_run(document)


def read_run(document: Document) -> LoadedRun:
    """The run that a document holds."""
    problems = list(document.problems)
    data = document.data
    if data is None:
        return LoadedRun(None, document, problems)
    if not isinstance(data, dict) or data.get("kind") != KIND:
        why = f"is no {KIND}; a run file starts with apiVersion: {GROUP}/{VERSION}, kind: {KIND}"
        return LoadedRun(None, document, [*problems, document.problem((), why)])
    empty = [("spec", *path) for path in empty_keys(AceReasonRunSpec, data.get("spec"))]
    problems += [document.problem(path, EMPTY) for path in empty]
    follows = {path[:-1] for path in empty}  # a union of which the one member is empty has none
    faults = faults_of(AceReasonRun, data, left_out=StagesDoNotFit)
    problems += [document.problem(path, what) for path, what in faults if path not in follows]
    unfit = findings(facts_of(data.get("spec")))
    problems += [document.problem(("spec", *path), what) for path, what in unfit]
    problems.sort(key=lambda problem: (problem.file != document.name, problem.line or 0))
    run = None if problems else AceReasonRun.parse(data)
    return LoadedRun(run, document, problems)
