"""Drawing answers and having them checked: what evaluation and the pass-rate filter share.

Batches are drawn one after the other; while one is drawn, the verdicts of the one before are waited
for, so that slow checks (programs) hide behind generation. Each rank draws its share of a batch,
has it checked and keeps each answer as soon as that is done; then all have all answers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.config.common import Verifier
from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.dataset import Domain, Row
from acereason_trainer.evaluation.batches import Batch, drawn_together, in_batches
from acereason_trainer.evaluation.journal import AnswerJournal, GradedAnswer, attempt_journal
from acereason_trainer.peers import ALONE, Peers
from acereason_trainer.rewards.protocol import Grade, Rewarder
from acereason_trainer.rewards.verdict_metrics import verdict_shares, walls_missing
from acereason_trainer.rewards.waiting import LOOK_EVERY, require_verdicts, verdict_of
from acereason_trainer.rollout.protocol import Completion, Sampler, SamplingParams
from acereason_trainer.stage import StageContext, StageFailure, StopFlag, Stopped
from acereason_trainer.telemetry.recorder import Recorder


@dataclass(frozen=True)
class Examined:
    """A batch that was drawn and checked."""

    batch: Batch
    answers: Sequence[GradedAnswer]
    """To each question of the batch."""
    drawn_tokens: int
    """Of the answers that were drawn now; an earlier attempt may have drawn some, or all."""
    seconds: float
    """Of drawing them."""
    grades: Sequence[Grade]
    """Of those that were checked now."""

    def metrics(self) -> dict[str, float]:
        """Its row of curves."""
        answers = self.answers
        checked = [a for a in answers if a.checked]
        row = {
            "accuracy": sum(a.correct for a in checked) / max(len(checked), 1),
            "response_tokens": sum(a.tokens for a in answers) / len(answers),
            "truncated_share": sum(a.truncated for a in answers) / len(answers),
            **verdict_shares([a.verdict for a in answers]),
            **walls_missing(self.grades),
        }
        if self.drawn_tokens:
            row["generated_tokens_per_second"] = self.drawn_tokens / max(self.seconds, 1e-9)
        return row


@dataclass
class Examiner:
    """Draws and checks batches; what is checked is journalled and found again."""

    sampler: Sampler
    rewarders: "Rewarders"
    params: SamplingParams
    journal: AnswerJournal
    recorder: Recorder
    stop: StopFlag
    grace_seconds: float
    """From a stop to the end by force. Half of it is given to verdicts that are still open, so that
    what was drawn is not lost to a slow check."""
    drawn_together: int = 1
    """Answers, counted from the first of a batch, that come out the same only if they are drawn
    beside one another: who goes on after a stop draws all of them again, or none."""
    answers_per_step: int = 1
    """By which the recorder counts."""
    peers: Peers = ALONE
    _open: list[tuple[Completion, "Future[Grade]"]] = field(default_factory=list, init=False)
    """What this rank has drawn and not kept yet."""

    def examined(self, batches: Sequence[Batch]) -> Iterator[Examined]:
        """Each batch with its checked answers, in order, the same ones on every rank. To be asked
        for once.

        Raises stage.Stopped; what was drawn is kept then where its verdict comes in time. Raises
        StageFailure (temporary) where a batch lacks verdicts on as many answers as most of a full
        one has: the few that are left of one after a stop may all be such.
        """
        pending: Callable[[], Examined] | None = None
        before, full = self.recorder.step * self.answers_per_step, max(map(len, batches), default=0)
        try:
            for number, batch in enumerate(batches, 1):
                begun = self._begin(number, batch, before, full)
                if pending is not None:
                    yield pending()
                pending = begun
                before += len(batch)
            if pending is not None:
                yield pending()
        except Stopped:
            self._keep_in_time()
            raise
        except StageFailure:
            with suppress(StoreFull):  # what ended the attempt is what it ends with
                self._keep_checked()
            raise

    def _begin(self, number: int, batch: Batch, before: int, full: int) -> Callable[[], Examined]:
        """Draw a batch and hand its answers to the checker; the result waits for verdicts.

        before: answers of the batches before it. full: answers of a full batch.
        """
        found = self.peers.led(lambda: self._found(batch))
        self.recorder.recalled(len(found) / self.answers_per_step)
        left = [q.request for q in batch if q.request.seed not in found]
        rows = {q.request.seed: q.row for q in batch}
        grades: dict[int, Future[Grade]] = {}
        # Of all ranks: what is drawn so far shows where the work stands, within a batch of hours.
        count = self.peers.queue(f"answers of batch {number}")

        def check(completions: Sequence[Completion]) -> None:
            for c in completions:
                seed = c.request.seed
                grades[seed] = self.rewarders.submit(rows[seed], c.text)
                self._open.append((c, grades[seed]))
                answers = before + len(found) + count() + 1
                self.recorder.reached(answers // self.answers_per_step)
            self._keep_checked()

        began = time.monotonic()
        drawn: Sequence[Completion] = ()
        if left:
            with self.recorder.phase("generate"):
                drawn = self.peers.kept(lambda: self.sampler.generate(left, self.params, check))
        seconds = time.monotonic() - began

        def graded() -> list[tuple[int, GradedAnswer, Grade]]:
            """This rank's share."""
            pairs = [(c, verdict_of(grades[c.request.seed], self._check_stop)) for c in drawn]
            self._keep_checked()
            if pairs:
                self.recorder.dump_rollouts(number, pairs)
            return [(c.request.seed, _answer(c, grade), grade) for c, grade in pairs]

        def finish() -> Examined:
            with self.recorder.phase("reward_wait"):
                shares = self.peers.together(graded)
            now = {seed: (answer, grade) for share in shares for seed, answer, grade in share}
            require_verdicts(sum(not answer.checked for answer, _ in now.values()), full)
            of = found | {seed: answer for seed, (answer, _) in now.items()}
            return Examined(
                batch,
                answers=[of[q.request.seed] for q in batch],
                drawn_tokens=sum(answer.tokens for answer, _ in now.values()),
                seconds=seconds,
                grades=[grade for _, grade in now.values()],
            )

        return finish

    def _found(self, batch: Batch) -> dict[int, GradedAnswer]:
        """What an earlier attempt has drawn and checked of a batch, by seed."""
        self._check_stop()  # of long work that is done already, nobody else looks
        found = self.journal.find([q.request for q in batch])
        parts = [[q.request.seed for q in part] for part in in_batches(batch, self.drawn_together)]
        whole = [part for part in parts if all(seed in found for seed in part)]
        return {seed: found[seed] for part in whole for seed in part}

    def _check_stop(self) -> None:
        self.stop.check()
        self.peers.check()

    def _keep_checked(self) -> None:
        """Keep the answers whose verdicts have come. One without a verdict is no answer: whoever
        goes on draws it anew."""
        there = [(c, future) for c, future in self._open if future.done()]
        came = {c.request.seed for c, _ in there}
        self._open = [(c, future) for c, future in self._open if c.request.seed not in came]
        answers = [(c.request, _answer(c, f.result())) for c, f in there if f.exception() is None]
        self.journal.keep([(request, answer) for request, answer in answers if answer.checked])

    def _keep_in_time(self) -> None:
        """Keep what is checked when the attempt must end, after a stop of this rank."""
        self._keep_checked()
        while self._open and 0 < self.stop.seconds_since < self.grace_seconds / 2:
            wait([f for _, f in self._open], LOOK_EVERY, return_when=FIRST_COMPLETED)
            self._keep_checked()


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
        attempt_journal(context.work_dir, context.peers.rank),
        recorder,
        context.stop,
        context.file.grace_seconds,
        drawn_together(settings),
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
