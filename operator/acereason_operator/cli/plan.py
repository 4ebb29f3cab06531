"""`acereason plan FILE`: what a run would do, before it does it.

What the next start would find finished stays as it is. The other stages are asked for in order. One
whose inputs are known (sources on disk, or artifacts of stages that are done) has a key already:
the trainer's `prepare --dry-run` computes it and looks for finished work under it. Below the first
stage that would run, keys are not known yet.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.sources import ModelSource, Source
from acereason_trainer.config.stage_file import PrepareRecord, StageFile

from acereason_operator.api.run import AceReasonRun
from acereason_operator.api.status import RunStatus, StageStatus
from acereason_operator.cli import run_files
from acereason_operator.cli.tables import table
from acereason_operator.local.cores import machine_cores
from acereason_operator.local.run import next_start
from acereason_operator.local.run_directory import UnreadableStatus
from acereason_operator.planner.actions import CreateJob
from acereason_operator.planner.context import Context
from acereason_operator.planner.idle_gpus import idle_gpus
from acereason_operator.planner.observed import Observed
from acereason_operator.planner.plan import plan
from acereason_operator.planner.recipe import recipe_of
from acereason_operator.planner.stages import DONE
from acereason_operator.planner.trained_on_later import trained_on_later


@dataclass(frozen=True)
class Forecast:
    """What would become of one stage."""

    stage: str
    kind: str
    needs: list[str]
    inputs: dict[str, str]
    """What it reads, by name: `model`, `data`, `heldOut[0]`, `validation`."""
    key: str | None
    """Stage key, where it is known already."""
    verdict: str
    """`keep` what this run has finished, `reuse` what another one has, `run`, `resume`, `fail`, or
    `held` by suspend, its own or that of what it needs, or because nobody asked for it."""
    why: str


def add_parser(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "plan",
        help="show stages, keys and what would be reused",
        description="Show what `acereason run` would do: stages, what they need, their keys, what "
        "would be reused and why. Starts and changes nothing; takes what `acereason run` takes.",
        epilog="example: acereason plan examples/quickstart.yaml --set spec.seed=1",
    )
    run_files.add_arguments(parser)
    parser.add_argument(
        "-o", "--output", choices=["table", "json"], default="table", help="form of the answer"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    try:
        asked = run_files.read(args)
    except run_files.Unusable:
        return 2
    try:
        status = next_start(asked)
    except UnreadableStatus as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{asked.store} cannot be used: {error}", file=sys.stderr)
        return 1
    for note in [*trained_on_later(asked.run.spec), *idle_gpus(asked.run.spec)]:
        print(f"note: {note}", file=sys.stderr)
    forecasts = forecast(asked.run, status, asked.context)
    if args.output == "json":
        print(json.dumps([asdict(f) for f in forecasts], indent=2))
    else:
        rows = [
            (f.stage, f.verdict, f.why, f.key or "-", _inputs_text(f.inputs)) for f in forecasts
        ]
        print(table(("STAGE", "WOULD", "WHY", "KEY", "INPUTS"), rows))
    return 1 if any(f.verdict == "fail" for f in forecasts) else 0


def forecast(run_: AceReasonRun, status: RunStatus, context: Context) -> list[Forecast]:
    """Every stage, in order, of a run that starts from a status.

    The planner itself is played forward from what is finished: each stage that it would prepare is
    prepared dry, and one that would be reused counts as done for the stages below. What is
    suspended is prepared dry like the rest, so that its key is known.
    """
    recipe = recipe_of(run_.spec)
    left_out, context = context.left_out, replace(context, left_out={})
    released = _released(run_)
    finished = {s.name: s for s in status.stages if s.state in DONE}
    status, answers = _between_attempts(run_, status), dict[str, PrepareRecord]()
    while True:
        planned = plan(released, status, Observed(), datetime.now(UTC), context)
        asked = [
            action
            for action in planned.actions
            if isinstance(action, CreateJob) and action.stage not in answers
        ]
        if not asked:
            break
        with ThreadPoolExecutor(machine_cores()) as pool:
            records = pool.map(ask, [action.stage_file for action in asked])
        answers |= {action.stage: record for action, record in zip(asked, records, strict=True)}
        done = [_as_if_done(s, answers.get(s.name)) for s in planned.status.stages]
        status = planned.status.model_copy(update={"stages": done})
    forecasts = [
        Forecast(
            stage.name,
            stage.kind,
            list(recipe.order.needs[stage.name]),
            {name: _source_text(source) for name, source in recipe.inputs[stage.name].by_name()},
            *_verdict(stage.name, recipe.order.needs[stage.name], finished, answers),
        )
        for stage in run_.spec.stages
    ]
    held = [_held(f, run_, recipe.order.ancestors[f.stage]) for f in forecasts]
    return [_left_out(f, left_out) for f in held]


def ask(file: StageFile) -> PrepareRecord:
    """`prepare --dry-run`: key, finished work and resume state, without importing anything."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "stage.yaml"
        path.write_bytes(yaml_numbers.dump(file.dump()))
        answer = subprocess.run(
            [sys.executable, "-m", "acereason_trainer.prepare", "--dry-run", str(path)],
            check=False,
            stdout=subprocess.PIPE,
            env=os.environ,
        )
    if not answer.stdout:
        why = f"prepare --dry-run answered nothing and ended with {answer.returncode}"
        return PrepareRecord(exit_code=answer.returncode or 1, message=why)
    return PrepareRecord.parse_json(answer.stdout)


def _between_attempts(run_: AceReasonRun, status: RunStatus) -> RunStatus:
    """What is finished, and of the rest only what decides where an attempt would begin."""
    stages = [
        s if s.state in DONE else StageStatus(name=s.name, salt=s.salt, before_step=s.before_step)
        for s in status.stages
    ]
    return RunStatus(observed_generation=run_.metadata.generation, stages=stages)


def _released(run_: AceReasonRun) -> AceReasonRun:
    """The run with nothing held back."""
    stages = [stage.model_copy(update={"suspend": False}) for stage in run_.spec.stages]
    spec = run_.spec.model_copy(update={"suspend": False, "stages": stages})
    return run_.model_copy(update={"spec": spec})


def _held(forecast_: Forecast, run_: AceReasonRun, ancestors: Collection[str]) -> Forecast:
    """The forecast as it is while suspend is set, key and all."""
    held = {stage.name for stage in run_.spec.stages if stage.suspend}
    if forecast_.verdict == "keep":
        return forecast_
    if run_.spec.suspend:
        whose = "spec.suspend"
    elif forecast_.stage in held:
        whose = "its own suspend"
    elif above := [name for name in ancestors if name in held]:
        whose = f"suspend of {', '.join(above)}"
    else:
        return forecast_
    why = f"held back by {whose}; without it: {forecast_.verdict}, {forecast_.why}"
    return replace(forecast_, verdict="held", why=why)


def _left_out(forecast_: Forecast, left_out: Mapping[str, str]) -> Forecast:
    """The forecast of a stage that nobody asked for."""
    if forecast_.stage not in left_out or forecast_.verdict == "keep":
        return forecast_
    return replace(forecast_, verdict="held", why=left_out[forecast_.stage])


def _as_if_done(status: StageStatus, answer: PrepareRecord | None) -> StageStatus:
    if answer is None or answer.reused is None:
        return status
    return status.model_copy(
        update={
            "state": "Reused",
            "artifact": answer.reused,
            "key": answer.key,
            "prepare": answer,
            "attempt": None,
        }
    )


def _verdict(
    name: str,
    needs: Collection[str],
    finished: Mapping[str, StageStatus],
    answers: Mapping[str, PrepareRecord],
) -> tuple[str | None, str, str]:
    """(key, verdict, why) of a stage."""
    if name in finished:
        return finished[name].key, "keep", "this run has finished it"
    answer = answers.get(name)
    if answer is None:
        there = {*finished, *(n for n, a in answers.items() if a.reused is not None)}
        return None, "run", f"its key follows from {', '.join(n for n in needs if n not in there)}"
    if answer.exit_code != 0:
        return answer.key, "fail", answer.message
    if answer.reused is not None:
        return answer.key, "reuse", answer.message
    if answer.resume is not None:
        return answer.key, "resume", answer.message
    return answer.key, "run", "nothing has its key yet" if answer.key else answer.message


def _source_text(source: Source | ModelSource) -> str:
    """`sft`, `data/train.jsonl`, `owner/name@commit`, ..."""
    if isinstance(source, Source) and source.stage:
        return f"stage {source.stage}"
    if source.hub:
        return f"{source.hub.id}@{source.hub.revision}"
    if source.artifact:
        return source.artifact.uri
    return source.path or "random weights"


def _inputs_text(inputs: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in inputs.items())
