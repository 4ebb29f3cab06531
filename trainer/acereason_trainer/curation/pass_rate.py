"""How often a model solves each prompt, and which prompts are worth training it on.

AceReason 1.0 section 3.2.2 draws 16 attempts per prompt with the current policy and drops prompts
solved more than 6 times before the 24K stage: what is always solved, or never, gives a group
without spread, which teaches nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from acereason_trainer.config.curate import PassRate
from acereason_trainer.curation.funnel import Step
from acereason_trainer.dataset import Row, require_distinct_ids
from acereason_trainer.evaluation.answers import Examiner, Rewarders, examiner_of
from acereason_trainer.evaluation.batches import Batch, batches_of, questions
from acereason_trainer.evaluation.measured_model import drawing_from
from acereason_trainer.evaluation.results import SetTally
from acereason_trainer.policy.loading import load_tokenizer
from acereason_trainer.rewards import make_rewarder
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.recorder import Recorder


def with_pass_rates(
    rows: Sequence[Row], settings: PassRate, context: StageContext, recorder: Recorder
) -> list[Row]:
    """The rows with `pass_count`, `samples` (attempts that were checked), `pass_rate`, and with the
    attempts' mean length as `response_tokens`: RL begins with what takes longest. All ranks call
    it, with the same rows, and each attempts its share.

    Rows of one problem, as copies or with different worked answers, are attempted once for all of
    them. Raises StageFailure where an id stands for more than one problem.
    """
    require_distinct_ids(map(_what_is_attempted, rows))
    tokenizer = load_tokenizer(context.model_dir)
    name = (context.prepared.key, context.prepared.salt, "passRate")
    prompts = list({row.id: row for row in rows}.values())
    recorder.expect(recorder.step + len(prompts))
    asked = questions("pass rate", prompts, settings.samples, settings.prompting, tokenizer, name)
    make = partial(make_rewarder, require_think=settings.prompting.thinks)
    verifier = settings.verifier.shared_by(context.peers.local_world)
    longest_prompt = max(len(q.request.prompt) for q in asked)
    with (
        closing(Rewarders(make, verifier)) as rewarders,
        drawing_from(context, settings, tokenizer, longest_prompt) as sampler,
    ):
        examiner = examiner_of(
            context, settings, sampler, rewarders, recorder, answers_per_step=settings.samples
        )
        batches = batches_of([asked], settings, context.peers.world)
        columns = attempt(batches, prompts, settings.samples, examiner)
    return [replace(row, data={**row.data, **columns[row.id]}) for row in rows]


def attempt(
    batches: Sequence[Batch], prompts: Sequence[Row], samples: int, examiner: Examiner
) -> dict[str, dict[str, float]]:
    """What was found of each prompt, as columns of a row; progress counts prompts."""
    tally = SetTally("pass rate", (row.id for row in prompts), samples)
    recorder = examiner.recorder
    first, answers = recorder.step, 0
    for examined in examiner.examined(batches):
        tally.add(examined.answers)
        answers += len(examined.answers)
        recorder.record(first + answers // samples, examined.metrics())
    return columns_of(tally)


def columns_of(tally: SetTally) -> dict[str, dict[str, float]]:
    """By prompt. Raises StageFailure where too many attempts could not be checked."""
    lengths = tally.mean_tokens()
    return {
        row_id: {
            "pass_count": found.correct,
            "samples": found.checked,
            "pass_rate": found.correct / found.checked,
            "response_tokens": lengths[row_id],
        }
        for row_id, found in tally.result(pass_at=[]).tallies().items()
    }


def in_band(rows: Iterable[Row], settings: PassRate, step: Step) -> Iterator[Row]:
    """The rows whose `pass_count` lies in [minCorrect, maxCorrect]."""
    for row in rows:
        step.rows_in += 1
        right, of = row.data["pass_count"], row.data["samples"]
        if right < settings.min_correct:
            step.drop(row, "minCorrect", f"{right} of {of} right")
        elif right > settings.max_correct:
            step.drop(row, "maxCorrect", f"{right} of {of} right")
        else:
            step.rows_out += 1
            yield row


def _what_is_attempted(row: Row) -> Row:
    columns = (
        *("problem", "answer", "domain"),
        *("tests", "starter", "time_limit", "memory_limit", "tolerance"),
    )
    return replace(row, data={name: row.data[name] for name in columns if name in row.data})
