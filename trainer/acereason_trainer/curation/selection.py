"""The steps of curation that need no model, each a stream of rows in, a stream of rows out.

    rules -> duplicates -> decontamination -> mix

Streams, so that a set of millions of worked answers needs memory for hashes only. Each step counts
into the funnel while rows pass; the counts are complete when the stream is exhausted.
"""

from collections.abc import Callable, Iterable, Iterator

from acereason_trainer.config.curate import Curate
from acereason_trainer.curation.contamination import HeldOut
from acereason_trainer.curation.duplicates import Duplicates
from acereason_trainer.curation.funnel import Funnel, Step
from acereason_trainer.curation.rules import dropped_by
from acereason_trainer.dataset import Row
from acereason_trainer.row_choice import resampled

Reason = tuple[str, str]
"""Name of a reason, and a detail for a human."""


def select(
    rows: Iterable[Row],
    settings: Curate,
    held_out: Iterable[tuple[str, str]],
    funnel: Funnel,
    seed_name: str,
) -> Iterator[Row]:
    """The rows that stay, in order. `held_out`: origin and text of each held-out problem."""
    rows = _kept(rows, funnel.step("rules"), lambda row: _by_rules(row, settings))
    if settings.deduplicate != "none":
        seen = Duplicates(settings.deduplicate, per_response=settings.require_response)
        rows = _kept(rows, funnel.step("duplicates"), lambda row: _by_repetition(row, seen))
    if settings.decontamination is not None:
        index = HeldOut(held_out, settings.decontamination)
        rows = _kept(rows, funnel.step("decontamination"), lambda row: _by_overlap(row, index))
    if settings.mix:
        rows = _mixed(rows, settings, funnel.step("mix"), seed_name)
    return iter(rows)


def _kept(rows: Iterable[Row], step: Step, judge: Callable[[Row], Reason | None]) -> Iterator[Row]:
    for row in rows:
        step.rows_in += 1
        verdict = judge(row)
        if verdict is None:
            step.rows_out += 1
            yield row
        else:
            step.drop(row, *verdict)


def _by_rules(row: Row, settings: Curate) -> Reason | None:
    reason = dropped_by(row, settings)
    return None if reason is None else (reason, "")


def _by_repetition(row: Row, seen: Duplicates) -> Reason | None:
    earlier = seen.repeats(row)
    return None if earlier is None else (seen.mode, f"repeats {earlier}")


def _by_overlap(row: Row, index: HeldOut) -> Reason | None:
    overlap = index.overlap(row)
    return None if overlap is None else ("overlap", f'"{overlap.words}" is in {overlap.held_out}')


def _mixed(rows: Iterable[Row], settings: Curate, step: Step, seed_name: str) -> Iterator[Row]:
    def counted() -> Iterator[Row]:
        for row in rows:
            step.rows_in += 1
            yield row

    for row, copies in resampled(counted(), settings.mix, seed_name):
        if copies == 0:
            step.drop(row, "weight")
        for _ in range(copies):
            step.rows_out += 1
            yield row
