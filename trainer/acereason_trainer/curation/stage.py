"""The `curate` stage: which rows of a dataset are worth training on.

    read -> rules -> duplicates -> decontamination -> mix -> pass rate -> maxRows

The order goes from cheap to dear, so that a model only attempts prompts that everything else lets
through. report.json says what became of every row, with an example of each reason. Of several ranks
the first one does everything but the attempts, which all share.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from acereason_trainer.config.curate import Curate
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.curation.funnel import Funnel, Step
from acereason_trainer.curation.selection import select
from acereason_trainer.dataset import Row, read_rows, write_rows
from acereason_trainer.publishing import publish
from acereason_trainer.row_choice import drawn_positions
from acereason_trainer.stage import StageContext, StageFailure
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder

DATA_FILE = "data.jsonl"
REPORT_FILE = "report.json"
_ROWS_PER_RECORD = 10_000


def run(context: StageContext) -> None:
    """Choose rows, write them with the counts of every reason, publish them."""
    settings, work, peers = context.file.settings.curate, context.work_dir, context.peers
    assert settings is not None
    funnel, rated = Funnel(), None
    recorder = Recorder(
        work,
        total=None,
        unit="rows",
        settings=settings.telemetry,
        key=context.prepared.key,
        leads=peers.leads,
    )
    with recorder:
        recorder.start()
        rows = work / "selected.jsonl"
        peers.led(lambda: _select(context, settings, rows, funnel, recorder))
        if settings.pass_rate is not None:
            # Torch takes seconds to import, and rules alone need none of it.
            from acereason_trainer.curation.pass_rate import with_pass_rates

            # Through the ranks: another node may not see the file yet.
            selected = peers.led(lambda: list(read_rows(rows)))
            rated = with_pass_rates(selected, settings.pass_rate, context, recorder)
        peers.led(lambda: _finish(context, settings, rows, rated, funnel, recorder))


def _select(
    context: StageContext, settings: Curate, rows: Path, funnel: Funnel, recorder: Recorder
) -> None:
    """Write what the rules leave."""
    with recorder.phase("rules"):
        read = _watched(read_rows(context.data_dir, settings.columns), context, funnel, recorder)
        held_out, name = _held_out(context), f"curate/{context.file.seed}"
        write_rows(rows, select(read, settings, held_out, funnel, name))
    if recorder.step < funnel.rows_in:
        recorder.record(funnel.rows_in, {"rows": funnel.rows_in, "rows_kept": funnel.rows_out})
    _require_rows(context, funnel)


def _finish(
    context: StageContext,
    settings: Curate,
    rows: Path,
    rated: Sequence[Row] | None,
    funnel: Funnel,
    recorder: Recorder,
) -> None:
    """Leave out what the model's attempts and the limit say, and publish the rest."""
    work, histogram = context.work_dir, None
    if settings.pass_rate is not None and rated is not None:
        from acereason_trainer.curation.pass_rate import in_band

        histogram = Counter(str(row.data["pass_count"]) for row in rated)
        rows = work / "in-band.jsonl"
        write_rows(rows, in_band(rated, settings.pass_rate, funnel.step("passRate")))
    if settings.max_rows is not None:
        every, rows = rows, work / "limited.jsonl"
        limited = _limited(every, settings.max_rows, context.file.seed, funnel.step("maxRows"))
        write_rows(rows, limited)
    _require_rows(context, funnel)
    say(f"{funnel.sentence()}; {funnel.rows_out:,} rows out")
    _publish(context, rows, funnel.dump() | {"passCounts": histogram}, recorder)


def _watched(
    rows: Iterable[Row], context: StageContext, funnel: Funnel, recorder: Recorder
) -> Iterator[Row]:
    """The same rows, with progress and a look at the stop flag now and then."""
    for number, row in enumerate(rows, 1):
        yield row
        if number % _ROWS_PER_RECORD == 0:
            context.check_alone()
            recorder.record(number, {"rows": number, "rows_kept": funnel.rows_out})


def _held_out(context: StageContext) -> Iterator[tuple[str, str]]:
    """Origin and text of each problem that no row may overlap with."""
    for number, ref in enumerate(context.prepared.inputs.held_out):
        for row in read_rows(context.input_dir(ref)):
            yield f"heldOut[{number}] {row.origin}", row.problem


def _limited(path: Path, limit: int, seed: int, step: Step) -> Iterator[Row]:
    """At most `limit` rows, chosen by the run's seed, in order."""
    chosen = drawn_positions((row.id for row in read_rows(path)), limit, "maxRows", seed)
    for position, row in enumerate(read_rows(path)):
        step.rows_in += 1
        if position in chosen:
            step.rows_out += 1
            yield row
        else:
            step.drop(row, "maxRows")


def _publish(context: StageContext, rows: Path, report: dict[str, Any], recorder: Recorder) -> None:
    directory = context.work_dir / "export"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    rows.rename(directory / DATA_FILE)
    (directory / REPORT_FILE).write_text(
        json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    metrics = {"rowsIn": float(report["in"]), "rowsOut": float(report["out"])}
    publish(context, directory, records=[REPORT_FILE], step=recorder.step, metrics=metrics)
    shutil.rmtree(directory)


def _require_rows(context: StageContext, funnel: Funnel) -> None:
    if funnel.rows_out > 0:
        return
    raise StageFailure(
        ExitCode.BAD_CONFIGURATION,
        "NoRows",
        f"curate {context.file.stage} leaves no row: {funnel.sentence()}; loosen the settings "
        "named here, or look at the rows with `acereason curate FILE --examples`",
    )
