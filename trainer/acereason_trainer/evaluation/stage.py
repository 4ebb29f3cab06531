"""The `evaluate` stage: avg@k with its standard error and pass@k of one checkpoint.

Every draw is named by the stage key, the set, the problem and the sample, so a stopped evaluation
goes on, and ends with the same file where the engine draws the same bits again. All ranks draw and
check, each its share; the first one publishes. Which problems `maxProblems` keeps depends on the
run's seed alone, so that evaluations of different checkpoints can be compared problem by problem.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from acereason_trainer.config.common import Verifier
from acereason_trainer.config.evaluate import Evaluate, EvaluationSet
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.dataset import (
    Domain,
    Row,
    data_files,
    read_rows,
    require_checkable,
    require_distinct_ids,
)
from acereason_trainer.evaluation.answers import Examiner, Rewarders, examiner_of
from acereason_trainer.evaluation.batches import Batch, batches_of, questions
from acereason_trainer.evaluation.journal import GradedAnswer
from acereason_trainer.evaluation.kept_samples import kept_samples
from acereason_trainer.evaluation.measured_model import drawing_from
from acereason_trainer.evaluation.results import (
    RESULTS_FILE,
    SAMPLES_FILE,
    EvaluationResult,
    SetResult,
    SetTally,
    headline_metrics,
)
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.prompting import prompt_text
from acereason_trainer.publishing import publish
from acereason_trainer.rewards import Rewarder, make_rewarder
from acereason_trainer.row_choice import drawn_positions
from acereason_trainer.stage import StageContext, StageFailure
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder


def run(context: StageContext) -> None:
    """Measure the model on every set and publish the result."""
    settings = context.file.settings.evaluate
    assert settings is not None
    peers, seed = context.peers, context.file.seed
    sets = peers.kept(lambda: [(s, rows_of(s, context.data_dir, seed)) for s in settings.sets])
    say("; ".join(f"{s.name}: {len(rows):,} problems, {s.samples} samples" for s, rows in sets))
    tokenizer = load_tokenizer(context.model_dir)
    name = (context.prepared.key, context.prepared.salt, "evaluate")
    asked = {
        s.name: questions(s.name, rows, s.samples, settings.prompting, tokenizer, (*name, s.name))
        for s, rows in sets
    }
    longest_prompt = max(len(q.request.prompt) for of_set in asked.values() for q in of_set)
    with (
        closing(
            Rewarders(rewarders_of(settings), settings.verifier.shared_by(peers.local_world))
        ) as rewarders,
        Recorder(
            context.work_dir,
            total=sum(len(rows) * s.samples for s, rows in sets),
            unit="answers",
            settings=settings.telemetry,
            key=context.prepared.key,
            leads=peers.leads,
        ) as recorder,
        drawing_from(context, settings, tokenizer, longest_prompt) as sampler,
    ):
        recorder.start()
        examiner = examiner_of(context, settings, sampler, rewarders, recorder)
        batches = batches_of(list(asked.values()), settings, peers.world)
        found = measure(sets, batches, settings, examiner)
        result = EvaluationResult(sets=[of_set for of_set, _ in found])
        samples = [
            sample
            for (s, rows), (_, firsts) in zip(sets, found, strict=True)
            for sample in kept_samples(
                s.name,
                rows,
                firsts,
                settings.keep_samples,
                lambda row: prompt_text(row, settings.prompting, tokenizer),
            )
        ]
        peers.led(lambda: publish_evaluation(context, result, samples, recorder))


def rewarders_of(settings: Evaluate) -> Callable[[Domain, Verifier], Rewarder]:
    """How checkers are made: programs meet all their tests, so that the result says how far each
    came."""
    return partial(
        make_rewarder,
        all_tests=True,
        math_grader=settings.math_grader,
        comparator=settings.code_comparator,
        require_think=settings.prompting.thinks,
    )


def measure(
    sets: Sequence[tuple[EvaluationSet, Sequence[Row]]],
    batches: Sequence[Batch],
    settings: Evaluate,
    examiner: Examiner,
) -> list[tuple[SetResult, list[GradedAnswer]]]:
    """Draw, check and count the answers; of each set also the first answer to each problem."""
    tallies = {s.name: SetTally(s.name, (row.id for row in rows), s.samples) for s, rows in sets}
    firsts: dict[str, list[GradedAnswer]] = {s.name: [] for s, _ in sets}
    recorder = examiner.recorder
    for examined in examiner.examined(batches):
        for question, answer in zip(examined.batch, examined.answers, strict=True):
            tallies[question.set_name].add([answer])
            if answer.sample == 0:
                firsts[question.set_name].append(answer)
        recorder.record(recorder.step + len(examined.answers), examined.metrics())
    return [(tallies[s.name].result(settings.pass_at), firsts[s.name]) for s, _ in sets]


def rows_of(set_: EvaluationSet, data_dir: Path, seed: int) -> list[Row]:
    """The problems of a set, each with an answer or tests and a name of its own."""
    file = (data_dir / set_.file).resolve()
    if not file.is_relative_to(data_dir.resolve()) or not file.is_file():
        there = ", ".join(str(f.relative_to(data_dir)) for f in data_files(data_dir))
        raise _bad(f"set {set_.name}: there is no file {set_.file} in the data; it holds {there}")
    rows = list(read_rows(file))
    if not rows:
        raise _bad(f"set {set_.name}: {set_.file} holds no problem")
    for row in rows:
        require_checkable(row)
    require_distinct_ids(rows, copies=False)
    limit = set_.max_problems or len(rows)
    chosen = drawn_positions((row.id for row in rows), limit, "maxProblems", seed, set_.name)
    return [row for position, row in enumerate(rows) if position in chosen]


def publish_evaluation(
    context: StageContext,
    result: EvaluationResult,
    samples: Sequence[dict[str, Any]],
    recorder: Recorder,
) -> None:
    """Publish figures; sample answers and curves are records beside them."""
    directory = context.work_dir / "export"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / RESULTS_FILE).write_text(json.dumps(result.dump(), indent=1) + "\n")
    with (directory / SAMPLES_FILE).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(s, ensure_ascii=False) + "\n" for s in samples)
    shutil.copyfile(recorder.path, directory / recorder.path.name)
    publish(
        context,
        directory,
        records=[SAMPLES_FILE, recorder.path.name],
        step=recorder.step,
        metrics=headline_metrics(result),
    )
    shutil.rmtree(directory)


def _bad(sentence: str) -> StageFailure:
    return StageFailure(ExitCode.BAD_CONFIGURATION, "BadEvaluationSet", sentence)
