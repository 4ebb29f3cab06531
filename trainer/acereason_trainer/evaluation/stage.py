"""The `evaluate` stage: avg@k with its standard error and pass@k of one checkpoint.

Every draw is named by the stage key, the set, the problem and the sample, so a stopped evaluation
goes on and ends with the same file. Which problems `maxProblems` keeps depends on the run's seed
alone, so that evaluations of different checkpoints can be compared problem by problem.
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
from acereason_trainer.evaluation.answers import (
    Examiner,
    Question,
    Rewarders,
    in_batches,
    questions,
)
from acereason_trainer.evaluation.journal import GradedAnswer, attempt_journal
from acereason_trainer.evaluation.kept_samples import kept_samples
from acereason_trainer.evaluation.measured_model import load_measured_model, sampler_of
from acereason_trainer.evaluation.results import (
    RESULTS_FILE,
    SAMPLES_FILE,
    EvaluationResult,
    SetResult,
    SetTally,
    headline_metrics,
)
from acereason_trainer.policy.loading import check_context
from acereason_trainer.prompting import prompt_text
from acereason_trainer.publishing import publish
from acereason_trainer.rewards import Rewarder, make_rewarder
from acereason_trainer.rollout.protocol import SamplingParams
from acereason_trainer.row_choice import drawn_positions
from acereason_trainer.stage import StageContext, StageFailure
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder


def run(context: StageContext) -> None:
    """Measure the model on every set and publish the result."""
    settings = context.file.settings.evaluate
    assert settings is not None
    sets = [(s, rows_of(s, context.data_dir, context.file.seed)) for s in settings.sets]
    say("; ".join(f"{s.name}: {len(rows):,} problems, {s.samples} samples" for s, rows in sets))
    measured = load_measured_model(context.model_dir, settings.loading)
    sampler = sampler_of(measured, settings.sequences_per_batch, context.check_alone)
    with (
        closing(Rewarders(rewarders_of(settings), settings.verifier)) as rewarders,
        Recorder(
            context.work_dir,
            total=sum(len(rows) * s.samples for s, rows in sets),
            unit="answers",
            settings=settings.telemetry,
            key=context.prepared.key,
        ) as recorder,
    ):
        recorder.start()
        params = SamplingParams(
            settings.sampling.temperature, settings.sampling.top_p, settings.max_response_tokens
        )
        journal = attempt_journal(context.work_dir)
        examiner = Examiner(
            sampler, rewarders, params, journal, recorder, context.stop, context.file.grace_seconds
        )
        name = (context.prepared.key, context.prepared.salt, "evaluate")
        results, samples = [], []
        for s, rows in sets:
            asked = questions(
                rows, s.samples, settings.prompting, measured.tokenizer, (*name, s.name)
            )
            longest = max(len(q.request.prompt) for q in asked) + settings.max_response_tokens
            check_context(measured.model.config, longest, settings.loading)
            result, answers = measure(s, rows, asked, settings, examiner)
            results.append(result)
            samples += kept_samples(
                s.name,
                rows,
                answers,
                settings.keep_samples,
                lambda row: prompt_text(row, settings.prompting, measured.tokenizer),
            )
        publish_evaluation(context, EvaluationResult(sets=results), samples, recorder)


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
    set_: EvaluationSet,
    rows: Sequence[Row],
    asked: Sequence[Question],
    settings: Evaluate,
    examiner: Examiner,
) -> tuple[SetResult, list[GradedAnswer]]:
    """Draw, check and count the answers of one set; also the first answer to each problem."""
    tally = SetTally(set_.name, (row.id for row in rows), set_.samples)
    firsts: list[GradedAnswer] = []
    recorder = examiner.recorder
    for batch in examiner.examined(in_batches(asked, settings.sequences_per_batch)):
        tally.add(batch.answers)
        firsts += [a for a in batch.answers if a.sample == 0]
        recorder.record(recorder.step + len(batch.answers), batch.metrics())
    return tally.result(settings.pass_at), firsts


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
