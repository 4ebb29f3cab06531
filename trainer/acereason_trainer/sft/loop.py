"""SFT as in AceReason 1.1 section 3: next-token loss on the answers alone, packed rows, cosine."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch

from acereason_trainer.checkpoints import Checkpoints
from acereason_trainer.config.sft import SFT
from acereason_trainer.dataset import read_rows
from acereason_trainer.policy.flops import Machinery, machinery_of
from acereason_trainer.policy.health import check_update, not_a_number
from acereason_trainer.policy.loading import context_of, load_config, load_tokenizer
from acereason_trainer.policy.making import make_policy
from acereason_trainer.policy.protocol import Batch, Policy
from acereason_trainer.publishing import publish_model
from acereason_trainer.row_choice import resampled
from acereason_trainer.sft.documents import Documents, Watch
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder
from acereason_trainer.telemetry.speed import Work

SECONDS_BETWEEN_HEARTBEATS = 1.0


def run(context: StageContext) -> None:
    """Carry out an `sft` stage."""
    settings = context.file.settings.sft
    assert settings is not None
    key = context.prepared.key
    peers = context.peers
    with Recorder(
        context.work_dir,
        total=None,
        unit="steps",
        settings=settings.telemetry,
        key=key,
        leads=peers.leads,
    ) as recorder:
        recorder.heartbeat("load")
        steps = Steps(context, settings, recorder)
        recorder.expect(steps.total)
        policy = make_policy(context, settings, steps.total)
        machinery = machinery_of(
            context.model_dir, peers.world, settings.loading, settings.telemetry
        )
        with Checkpoints(context, settings.saving, policy, recorder) as checkpoints:
            train(context, settings, steps, policy, checkpoints, recorder, machinery)
        publish_model(
            context,
            policy,
            recorder,
            step=steps.total,
            metrics={"documents_too_long": float(steps.too_long)},
        )


class Steps:
    """The batches of the stage. The first rank alone holds the documents: a set of millions fits a
    machine's memory once, and one step of it is a few megabytes to tell."""

    def __init__(self, context: StageContext, settings: SFT, recorder: Recorder) -> None:
        self._peers = context.peers
        self._documents: Documents | None = None
        self.total, self.too_long = self._peers.led(lambda: self._load(context, settings, recorder))

    def _load(self, context: StageContext, settings: SFT, recorder: Recorder) -> tuple[int, int]:
        self._documents = documents = load_documents(context, settings, recorder)
        total = documents.total_steps()
        say(
            f"{len(documents):,} documents, {len(documents.too_long):,} dropped so far as longer "
            f"than rowTokens, {total:,} steps"
        )
        return total, len(documents.too_long)

    def after(self, done: int) -> Iterator[Batch]:
        """The batches that follow on `done` completed steps, on every rank."""
        return self._peers.stream(lambda: self._read(done))

    def _read(self, done: int) -> Iterator[Batch]:
        assert self._documents is not None
        for rows in islice(self._documents.steps(), done, self.total):
            yield as_batch(self._documents, rows)
            self.too_long = len(self._documents.too_long)


def load_documents(context: StageContext, settings: SFT, recorder: Recorder) -> Documents:
    """The stage's documents; progress.json shows how far their loading is.

    A health stop's salt draws another order, or else the damaged stretch would come again.
    """
    key, salt = context.prepared.key, context.prepared.salt
    return Documents(
        resampled(read_rows(context.data_dir), settings.mix, key),
        settings,
        load_tokenizer(context.model_dir),
        (key, salt) if salt else (key,),
        watch=_watch(context.check_alone, recorder),
        context=context_of(load_config(context.model_dir, settings.loading), settings.loading),
    )


def _watch(check_stop: Callable[[], None], recorder: Recorder) -> Watch:
    """A look at the stop; and, as the phase of progress.json, what the launcher's watchdog sees."""
    due = 0.0

    def look(where: str) -> None:
        nonlocal due
        check_stop()
        if time.monotonic() >= due:
            recorder.heartbeat(where)
            due = time.monotonic() + SECONDS_BETWEEN_HEARTBEATS

    return look


def train(
    context: StageContext,
    settings: SFT,
    steps: Steps,
    policy: Policy,
    checkpoints: Checkpoints,
    recorder: Recorder,
    machinery: Machinery,
) -> None:
    """One optimizer step for each set of packed rows."""
    done = checkpoints.resume().step
    for step, batch in enumerate(timed(steps.after(done), recorder), done + 1):
        context.check_stop()
        began = time.monotonic()
        with recorder.phase("train"):
            update = policy.step(batch)
        seconds, tokens = time.monotonic() - began, sum(map(len, batch.sequences))
        room = len(batch.rows or ()) * settings.row_tokens
        recorder.record(
            step,
            {
                "loss": update.loss,
                "entropy_exact": update.entropy,
                "grad_norm": update.grad_norm,
                "learning_rate": update.learning_rate,
                "trained_tokens": float(update.tokens),
                "documents": float(len(batch.sequences)),
                "padding_share": 1 - tokens / room,
                "tokens_per_second": tokens / seconds,
                "alarm_number": float(not_a_number(update, step) is not None),
            },
            work_of(batch, machinery),
        )
        check_update(update, step)
        checkpoints.completed(step)


def timed(batches: Iterable[Batch], recorder: Recorder) -> Iterator[Batch]:
    """The batches, with the seconds in which training waits for them counted as a phase."""
    source = iter(batches)
    while True:
        with recorder.phase("data"):
            batch = next(source, None)
        if batch is None:
            return
        yield batch


def work_of(batch: Batch, machinery: Machinery) -> Work:
    """What a step's devices do."""
    lengths = [len(s) for s in batch.sequences]
    arithmetic = machinery.arithmetic
    return Work(
        tokens=sum(lengths),
        drawing_seconds=0.0,
        devices=machinery.devices,
        flops=arithmetic.training(lengths) if arithmetic else None,
        peak_flops=machinery.peak_flops,
    )


def as_batch(documents: Documents, rows: list[list[int]]) -> Batch:
    """Every answer token of the step weighs the same."""
    numbers = [number for row in rows for number in row]
    chosen = [documents[number] for number in numbers]
    tokens = sum(len(d.tokens) - d.prompt_length for d in chosen)
    place = iter(range(len(numbers)))
    return Batch(
        sequences=[d.tokens.tolist() for d in chosen],
        prompt_lengths=[d.prompt_length for d in chosen],
        token_weights=[
            torch.full((len(d.tokens) - d.prompt_length,), 1.0 / tokens) for d in chosen
        ],
        rows=[[next(place) for _ in row] for row in rows],
    )
