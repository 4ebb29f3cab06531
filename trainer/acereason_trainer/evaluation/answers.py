"""Drawing answers and having them checked: what evaluation and the pass-rate filter share.

Batches are drawn one after the other; while one is drawn, the verdicts of the one before are waited
for, so that slow checks (programs) hide behind generation. Each rank draws its share of a batch and
has it checked; then all have all answers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from acereason_trainer.config.common import Prompting, Verifier
from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.dataset import Domain, Row
from acereason_trainer.evaluation.journal import AnswerJournal, GradedAnswer, attempt_journal
from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.prompting import render_prompt
from acereason_trainer.rewards.protocol import Grade, Rewarder
from acereason_trainer.rewards.verdict_metrics import verdict_shares, walls_missing
from acereason_trainer.rewards.waiting import verdict_of
from acereason_trainer.rollout.batch_files import batch_name
from acereason_trainer.rollout.protocol import Completion, Sampler, SampleRequest, SamplingParams
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import StageContext, StopFlag, Stopped
from acereason_trainer.telemetry.recorder import Recorder


@dataclass(frozen=True)
class Question:
    """One answer to draw and check."""

    row: Row
    request: SampleRequest


Batch = Sequence[Question]


def questions(
    rows: Sequence[Row],
    samples: int,
    prompting: Prompting,
    tokenizer: Any,
    name: tuple[str | int, ...],
) -> list[Question]:
    """`samples` questions for each row, side by side; `name` is what the draws are for."""
    out = []
    for row in rows:
        prompt = tuple(render_prompt(row, prompting, tokenizer))
        out += [
            Question(row, SampleRequest(row.id, prompt, n, draw_seed(*name, row.id, n)))
            for n in range(samples)
        ]
    return out


def in_batches(asked: Sequence[Question], size: int) -> list[Batch]:
    """Cut into batches of `size`, the last one smaller."""
    return [asked[i : i + size] for i in range(0, len(asked), size)]


@dataclass(frozen=True)
class Examined:
    """A batch that was drawn and checked."""

    answers: Sequence[GradedAnswer]
    """In the order in which they were asked for."""
    seconds: float | None
    """Of drawing; None where an earlier attempt had drawn it."""
    grades: Sequence[Grade] = ()
    """Of the answers, where they were checked now."""

    def metrics(self) -> dict[str, float]:
        """Its row of curves."""
        answers = self.answers
        checked = [a for a in answers if a.checked]
        tokens = sum(a.tokens for a in answers)
        row = {
            "accuracy": sum(a.correct for a in checked) / max(len(checked), 1),
            "response_tokens": tokens / len(answers),
            "truncated_share": sum(a.truncated for a in answers) / len(answers),
            **verdict_shares([a.verdict for a in answers]),
            **walls_missing(self.grades),
        }
        if self.seconds is not None:
            row["generated_tokens_per_second"] = tokens / max(self.seconds, 1e-9)
        return row


@dataclass(frozen=True)
class Examiner:
    """Draws and checks batches; finished ones are journalled and found again."""

    sampler: Sampler
    rewarders: "Rewarders"
    params: SamplingParams
    journal: AnswerJournal
    recorder: Recorder
    stop: StopFlag
    grace_seconds: float
    """From a stop to the end by force. Half of it is given to verdicts that are still open, so that
    what was drawn is not lost to a slow check."""
    answers_per_step: int = 1
    """By which the recorder counts."""
    peers: Peers = ALONE

    def examined(self, batches: Sequence[Batch]) -> Iterator[Examined]:
        """Each batch with its checked answers, in order, the same ones on every rank.

        Raises stage.Stopped; the batch before the one that was being drawn is kept then, too, if
        its verdicts come in time.
        """
        pending: Callable[[], Examined] | None = None
        before = self.recorder.step * self.answers_per_step
        for number, batch in enumerate(batches, 1):
            try:
                begun = self._begin(number, batch, before)
            except Stopped:
                if pending is not None:
                    pending()
                raise
            if pending is not None:
                yield pending()
            pending = begun
            before += len(batch)
        if pending is not None:
            yield pending()

    def _begin(self, number: int, batch: Batch, before: int) -> Callable[[], Examined]:
        """Draw a batch and hand its answers to the checker; the result waits for verdicts.

        before: answers of the batches before it.
        """
        requests = [q.request for q in batch]
        found = self.peers.led(lambda: self.journal.find(requests, self.params))
        if found is not None:
            return lambda: Examined(found, None)
        rows = {q.row.id: q.row for q in batch}
        grades: dict[tuple[str, int], Future[Grade]] = {}
        # Of all ranks: what is drawn so far shows where the work stands, within a batch of hours.
        count = self.peers.queue(f"answers of {batch_name(0, self.params, requests)}")

        def check(completions: Sequence[Completion]) -> None:
            for c in completions:
                row = rows[c.request.prompt_id]
                grades[_asked(c.request)] = self.rewarders.submit(row, c.text)
                self.recorder.reached((before + count() + 1) // self.answers_per_step)

        began = time.monotonic()
        with self.recorder.phase("generate"):
            drawn = self.peers.kept(lambda: self.sampler.generate(requests, self.params, check))
        seconds = time.monotonic() - began

        def graded() -> list[tuple[GradedAnswer, Grade]]:
            """This rank's share."""
            verdicts = [
                verdict_of(grades[_asked(c.request)], self._stop_waiting_in_time) for c in drawn
            ]
            pairs = list(zip(drawn, verdicts, strict=True))
            self.recorder.dump_rollouts(number, pairs)
            return [(_answer(c, grade), grade) for c, grade in pairs]

        def finish() -> Examined:
            with self.recorder.phase("reward_wait"):
                shares = self.peers.together(graded)
            of = {(a.row_id, a.sample): (a, grade) for share in shares for a, grade in share}
            answers, verdicts = zip(*(of[_asked(r)] for r in requests), strict=True)
            self.peers.led(lambda: self.journal.keep(requests, self.params, answers))
            return Examined(answers, seconds, verdicts)

        return finish

    def _stop_waiting_in_time(self) -> None:
        if self.stop.seconds_since > self.grace_seconds / 2:
            raise Stopped


def examiner_of(
    context: StageContext,
    settings: Evaluate | PassRate,
    sampler: Sampler,
    rewarders: "Rewarders",
    recorder: Recorder,
    *,
    answers_per_step: int = 1,
) -> Examiner:
    """Of a stage's attempt."""
    return Examiner(
        sampler,
        rewarders,
        SamplingParams(
            settings.sampling.temperature, settings.sampling.top_p, settings.max_response_tokens
        ),
        attempt_journal(context.work_dir),
        recorder,
        context.stop,
        context.file.grace_seconds,
        answers_per_step,
        context.peers,
    )


@dataclass
class Rewarders:
    """The checker of each domain, started when its first answer comes."""

    make: Callable[[Domain, Verifier], Rewarder]
    """Called with `math` or `code` and the settings."""
    verifier: Verifier
    _started: dict[str, Rewarder] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def submit(self, row: Row, response: str) -> "Future[Grade]":
        """Check a response to a row; returns at once."""
        if row.domain not in self._started:
            rewarder = self.make(row.domain, self.verifier)
            self._started[row.domain] = self._stack.enter_context(closing(rewarder))
        return self._started[row.domain].submit(row.data, response)

    def close(self) -> None:
        """End all worker processes."""
        self._stack.close()


def _asked(request: SampleRequest) -> tuple[str, int]:
    return request.prompt_id, request.sample


def _answer(c: Completion, grade: Grade) -> GradedAnswer:
    return GradedAnswer(
        row_id=c.request.prompt_id,
        sample=c.request.sample,
        verdict=grade.verdict,
        reward=grade.reward,
        tokens=len(c.tokens),
        truncated=c.finish == "length",
        text=c.text,
        detail=grade.detail,
        passed=grade.passed,
    )
