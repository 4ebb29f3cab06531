"""What a run left behind, gathered for a report: status, artifacts, curves, results, lineage.

Everything is read from the store; nothing is computed again. A run that is still going, failed or
reused another run's stages has a record too: what is not there yet is left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from acereason_trainer.artifacts.errors import Corrupt, NotFound
from acereason_trainer.artifacts.lineage import every, lineage
from acereason_trainer.artifacts.manifest import Manifest
from acereason_trainer.artifacts.store import ARTIFACTS, DirectoryStore
from acereason_trainer.dataset import problem_id, read_rows
from acereason_trainer.evaluation.results import (
    RESULTS_FILE,
    SAMPLES_FILE,
    EvaluationResult,
    read_results,
)
from acereason_trainer.telemetry.recorder import MetricsRow, read_metrics

METRICS_FILE = "metrics.jsonl"
REPORT_FILE = "report.json"
CHOICE_FILE = "choice.json"


class NoSuchRun(Exception):
    """There is no record of the run in the store; the text says what is there."""


@dataclass(frozen=True)
class StageRecord:
    """One stage of the run."""

    name: str
    kind: str
    """`curate`, `sft`, `mathRL`, `codeRL`, `evaluate`; empty before it has a key."""
    status: Mapping[str, Any]
    """Its part of status.json."""
    manifest: Manifest | None = None
    """Of its artifact, once it is done."""
    curves: Sequence[MetricsRow] = ()
    """Rows of metrics.jsonl: of the artifact, else of the newest attempt."""
    evaluation: EvaluationResult | None = None
    """Of an `evaluate` stage that is done."""
    samples: Sequence[Mapping[str, Any]] = ()
    """Answers that an evaluation kept."""
    funnel: Mapping[str, Any] | None = None
    """report.json of a `curate` stage that is done."""
    choice: Mapping[str, Any] | None = None
    """choice.json of an RL stage whose checkpoint or end was chosen by validation."""

    @property
    def state(self) -> str:
        """As status has it."""
        return str(self.status.get("state", "Waiting"))

    @property
    def message(self) -> str:
        """Why it failed, else what status says about it."""
        failure = self.status.get("lastFailure") if self.state == "Failed" else None
        return str((failure or self.status).get("message", ""))

    @property
    def steps(self) -> str:
        """Completed steps; of how many, while it is going."""
        if self.manifest is not None:
            return str(self.manifest.step)
        step, total = self.status.get("step"), self.status.get("totalSteps")
        return f"{step} of {total}" if step and total else str(step or "")


@dataclass(frozen=True)
class Score:
    """One set's accuracy after one evaluation."""

    accuracy: float
    standard_error: float | None
    problems: int
    samples: int
    pass_at: Mapping[str, float]
    truncated_share: float
    mean_tokens: float
    gain: float | None
    """Against the first evaluation that has the set; None for the first itself."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation and the model that it measured."""

    stage: str
    """Name of the `evaluate` stage."""
    model: str
    """Name of the stage that made the model; `base` for an imported one."""
    scores: Mapping[str, Score]
    """By set."""


@dataclass(frozen=True)
class ChosenOnReported:
    """A stage chose by problems that an evaluation reports: that figure is not held out."""

    stage: str
    """The stage that chose; RUN/STAGE for one of another run."""
    chosen: Sequence[str]
    """`checkpoint`, `stop`."""
    evaluation: str
    """Name of the `evaluate` stage."""
    problems: int
    """How many problems the two share."""


@dataclass(frozen=True)
class Ancestor:
    """An artifact and what it was made from."""

    key: str
    kind: str
    role: str
    """What it was to its child: `model`, `data`, `heldOut[0]`; empty for the root."""
    digest: str
    stage: str
    """Stage that made it, or where it was imported from."""
    run: str
    parents: Sequence["Ancestor"] = ()
    repeated: bool = False
    """Its own parents stand at its first mention."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its store shows it."""

    name: str
    state: str
    message: str
    started_at: str
    finished_at: str
    seed: int
    stages: Sequence[StageRecord]
    evaluations: Sequence[Evaluated]
    lineage: Ancestor | None
    chosen_on_reported: Sequence[ChosenOnReported] = ()
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Every version of each package that made an artifact of the run."""

    @property
    def sets(self) -> list[str]:
        """Names of all evaluation sets, in order of appearance."""
        return list(dict.fromkeys(name for e in self.evaluations for name in e.scores))


def read_run(store: Path, run: str) -> RunRecord:
    """Everything the store holds about a run. Raises NoSuchRun."""
    status = _status(store, run)
    artifacts = DirectoryStore(store)
    stages = [_stage(store, artifacts, run, s) for s in status.get("stages", [])]
    by_digest = {m.digest: m for _, m in artifacts.all()}
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    said: Mapping[str, Any] = next(
        (conditions[t] for t in ("Failed", "Stalled", "Suspended") if t in conditions), {}
    )
    return RunRecord(
        name=run,
        state=str(status.get("state", "Pending")),
        message=str(said.get("message", "")),
        started_at=str(status.get("startedAt", "")),
        finished_at=str(status.get("finishedAt", "")),
        seed=_seed(store, run),
        stages=stages,
        evaluations=_evaluations(stages, by_digest),
        lineage=_lineage(stages, by_digest),
        chosen_on_reported=_chosen_on_reported(stages, artifacts),
        versions=_versions(stages),
    )


def _status(store: Path, run: str) -> dict[str, Any]:
    path = store / "runs" / run / "status.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as e:
        there = sorted(p.parent.name for p in store.glob("runs/*/status.json"))
        raise NoSuchRun(
            f"there is no run {run} in {store}; it holds {', '.join(there) or 'no run'}"
        ) from e
    except json.JSONDecodeError as e:
        raise NoSuchRun(
            f"{path} is not JSON ({e}); start the run again to have it rewritten"
        ) from e


def _seed(store: Path, run: str) -> int:
    path = store / "runs" / run / "run.yaml"
    if not path.exists():
        return 0
    spec = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("spec", {})
    return int(spec.get("seed", 0))


def _stage(
    store: Path, artifacts: DirectoryStore, run: str, status: Mapping[str, Any]
) -> StageRecord:
    name, key = str(status["name"]), status.get("key")
    kind = str(key).split("-")[0] if key else ""
    manifest = _manifest(artifacts, status)
    if manifest is None:
        return StageRecord(name, kind, status, curves=_curves_of_attempts(store, run, name))
    directory = artifacts.directory(status["artifact"]["uri"])
    funnel, samples = directory / REPORT_FILE, directory / SAMPLES_FILE
    return StageRecord(
        name,
        kind,
        status,
        manifest,
        curves=(
            read_metrics(directory / METRICS_FILE)
            if (directory / METRICS_FILE).exists()
            else _curves_of_attempts(store, run, name)
        ),
        evaluation=read_results(directory) if (directory / RESULTS_FILE).exists() else None,
        samples=list(_json_lines(samples)) if samples.exists() else (),
        funnel=json.loads(funnel.read_text(encoding="utf-8")) if funnel.exists() else None,
        choice=_choice(directory),
    )


def _manifest(artifacts: DirectoryStore, status: Mapping[str, Any]) -> Manifest | None:
    """Manifest of the stage's artifact; None where it has none, or none that is whole."""
    if not status.get("artifact"):
        return None
    try:
        return artifacts.manifest(status["artifact"]["uri"])
    except (NotFound, Corrupt):
        return None


def _curves_of_attempts(store: Path, run: str, stage: str) -> list[MetricsRow]:
    """Curves of the newest attempt that wrote any: it holds those of the attempts before it."""
    found = (store / "work" / run / stage).glob(f"*/{METRICS_FILE}")
    attempts = sorted(
        (p for p in found if p.parent.name.isdigit()), key=lambda p: int(p.parent.name)
    )
    return read_metrics(attempts[-1]) if attempts else []


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def _evaluations(
    stages: Sequence[StageRecord], by_digest: Mapping[str, Manifest]
) -> list[Evaluated]:
    makers = {
        s.manifest.digest: s.name for s in stages if s.manifest and s.manifest.kind == "model"
    }
    first: dict[str, float] = {}
    out = []
    for stage in stages:
        if stage.evaluation is None or stage.manifest is None:
            continue
        scores = {
            s.name: Score(
                s.accuracy,
                s.standard_error,
                s.problems,
                s.samples,
                s.pass_at,
                s.truncated_share,
                s.mean_tokens,
                gain=s.accuracy - first[s.name] if s.name in first else None,
            )
            for s in stage.evaluation.sets
        }
        for name, score in scores.items():
            first.setdefault(name, score.accuracy)
        measured = stage.manifest.parents.get("model", "")
        model = makers.get(measured) or _maker(by_digest.get(measured))
        out.append(Evaluated(stage.name, model, scores))
    return out


def _maker(manifest: Manifest | None) -> str:
    return manifest.producer.stage if manifest and manifest.producer else "base"


def _chosen_on_reported(
    stages: Sequence[StageRecord], artifacts: DirectoryStore
) -> list[ChosenOnReported]:
    """By the problems' text, as far as the evaluations' data are still in the store."""
    own = {s.manifest.key: (s.name, s.choice) for s in stages if s.manifest and s.choice}
    uris = {m.digest: a.uri for a, m in artifacts.all()}
    found = []
    for evaluation in stages:
        if evaluation.evaluation is None or evaluation.manifest is None:
            continue
        choosers = {**_choosers_behind(evaluation.manifest, artifacts), **own}
        data = evaluation.manifest.parents.get("data", "")
        if not choosers or data not in uris:
            continue
        measured = {row_id for s in evaluation.evaluation.sets for row_id in s.correct}
        rows = read_rows(artifacts.directory(uris[data]))
        reported = {problem_id(row.problem) for row in rows if row.id in measured}
        for name, choice in choosers.values():
            if shared := reported & set(choice["problems"]):
                told = (name, choice["chosen"], evaluation.name, len(shared))
                found.append(ChosenOnReported(*told))
    return found


def _choosers_behind(
    evaluation: Manifest, artifacts: DirectoryStore
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """By key: RUN/STAGE and choice of each stage behind what was measured that chose something. It
    may be of another run, whose result this one started from."""
    found = {}
    for ancestor in every(lineage(artifacts, evaluation)):
        made = ancestor.manifest
        if made is None or made.producer is None:
            continue
        if choice := _choice(artifacts.directory(f"{ARTIFACTS}/{made.key}")):
            found[made.key] = (f"{made.producer.run}/{made.producer.stage}", choice)
    return found


def _choice(directory: Path) -> Mapping[str, Any] | None:
    path = directory / CHOICE_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _lineage(stages: Sequence[StageRecord], by_digest: Mapping[str, Manifest]) -> Ancestor | None:
    """Of the last model that the run made, else of its last artifact."""
    made = [s.manifest for s in stages if s.manifest is not None]
    models = [m for m in made if m.kind == "model"]
    if not made:
        return None
    return _ancestor((models or made)[-1], "", by_digest, set())


def _ancestor(
    manifest: Manifest, role: str, by_digest: Mapping[str, Manifest], seen: set[str]
) -> Ancestor:
    repeated = manifest.digest in seen and bool(manifest.parents)
    seen.add(manifest.digest)
    producer = manifest.producer
    return Ancestor(
        key=manifest.key,
        kind=manifest.kind,
        role=role,
        digest=manifest.digest,
        stage=producer.stage if producer else manifest.origin,
        run=producer.run if producer else "",
        parents=[
            _ancestor(by_digest[digest], name, by_digest, seen)
            for name, digest in manifest.parents.items()
            if digest in by_digest
        ]
        if not repeated
        else (),
        repeated=repeated,
    )


def _versions(stages: Sequence[StageRecord]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for stage in stages:
        for package, version in (stage.manifest.versions if stage.manifest else {}).items():
            found.setdefault(package, {})[version] = None
    return {package: list(versions) for package, versions in sorted(found.items())}
