"""Carry out one stage attempt: `python -m acereason_trainer.launch STAGE_FILE`.

    lock -> key -> finished already? -> newest state -> ranks -> signals, watchdog -> result.json

Everything that ends the attempt ends here, in one of the contract's codes (config/exit_codes.py)
and, once the lock is held, in a result record. The ranks are told by `stage.launched.yaml`, the
stage file with the state that was newest at this start: a Job that was suspended and let in again
goes on from what it had done meanwhile.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt, NotFound, StoreFull
from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.locks import Held, holding
from acereason_trainer.artifacts.states import newest_state
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.read_stage_file import BadStageFile, read_stage_file
from acereason_trainer.config.stage_file import (
    Prepared,
    Progress,
    PublishedArtifact,
    ResultRecord,
    StageFile,
)
from acereason_trainer.launch.logs import LogFollower
from acereason_trainer.launch.memory import memory_kills
from acereason_trainer.launch.ranks import BadEnvironment, Placement, Ranks, log_path, placement
from acereason_trainer.launch.record import few_metrics, fitted, tail_of, write_record
from acereason_trainer.launch.verdict import Circumstances, End, verdict
from acereason_trainer.launch.watchdog import Watchdog, read_progress
from acereason_trainer.prepare.key import stage_key
from acereason_trainer.processes import adopt_orphans, end_children
from acereason_trainer.termination_log import write_termination_log

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
TICK = 0.5
"""Seconds between two looks at progress and logs; signals are served at once."""
PEER_SECONDS = 10.0
"""How long the peers of a failed rank may take to end."""
STACK_SECONDS = 2.0
"""How long stuck ranks may take to write down their stacks."""


class Refused(Exception):
    """The attempt cannot start; its end says why."""

    def __init__(self, code: ExitCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.end = End(code, reason, message)


def main(arguments: list[str] | None = None) -> int:
    """Carry out the attempt; returns the contract's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="launcher: %(message)s", level=logging.INFO, stream=sys.stderr)
    # Blocked, and waited for in _watch: a signal that comes early is served when there are ranks.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    adopt_orphans()
    try:
        file = read_stage_file(options.stage_file)
        place = placement(os.environ, file.nodes, file.ranks)
    except (BadStageFile, BadEnvironment) as e:
        return _without_directory(Refused(ExitCode.BAD_CONFIGURATION, "BadStageFile", str(e)))
    work_dir = Path(file.store) / file.work_dir
    try:
        with holding(work_dir / f"launcher{place.suffix}.lock"):
            record = attempt(file, place, options.rank_command)
            write_record(work_dir / f"result{place.suffix}.json", record)
    except Held as held:
        return _without_directory(
            Refused(
                ExitCode.TEMPORARY, "Held", f"this attempt is being carried out already: {held}"
            )
        )
    except (StoreFull, OSError, Corrupt, NotFound) as e:  # gone again, or damaged, meanwhile
        return _without_directory(
            Refused(ExitCode.TEMPORARY, "StoreUnusable", f"{work_dir} cannot be used: {e}")
        )
    logging.info("%s: %s", record.reason, record.message)
    return record.exit_code


def attempt(file: StageFile, place: Placement, rank_command: Sequence[str] | None) -> ResultRecord:
    """Start the ranks unless there is nothing to do, watch them to their end, say what it means."""
    work_dir = Path(file.store) / file.work_dir
    try:
        prepared = checked(file)
    except Refused as refused:
        return _record(refused.end, work_dir)
    store = DirectoryStore(Path(file.store))
    if finished := store.finished(prepared.key):
        return _record(
            End(ExitCode.DONE, "Reused", f"{finished.uri} holds this work already"),
            work_dir,
            finished,
            came_to=store.manifest(finished.uri).metrics,
        )
    launched = _write_launched(file, prepared, work_dir / f"stage.launched{place.suffix}.yaml")
    command = [*(rank_command or (sys.executable, "-m", "acereason_trainer")), str(launched)]
    kills_before = memory_kills()
    ranks = Ranks(command, place, work_dir)
    stopped, stuck = _watch(ranks, file, place, work_dir)
    published = store.lookup(prepared.key)
    seen = Circumstances(
        published=published is not None,
        stop_requested=stopped,
        no_progress=stuck,
        memory_kills=memory_kills() - kills_before,
    )
    end = verdict(ranks.ended, seen)
    if published is None:
        return _record(end, work_dir)
    publish_seconds = _publish_seconds(store, published, work_dir)
    return _record(end, work_dir, published, publish_seconds, store.manifest(published.uri).metrics)


def checked(file: StageFile) -> Prepared:
    """The prepared section, if this image computes the same key from it. Raises Refused."""
    if file.prepared is None:
        raise Refused(
            ExitCode.BAD_CONFIGURATION,
            "NotPrepared",
            "the stage file has no `prepared` section; run python -m acereason_trainer.prepare "
            "first and copy key, inputs and resume from its record",
        )
    key = stage_key(file, file.prepared.inputs)
    if key != file.prepared.key:
        raise Refused(
            ExitCode.BAD_CONFIGURATION,
            "KeyMismatch",
            f"this image computes the key {key}, the stage was prepared as {file.prepared.key}; "
            "use a trainer image of the operator's version",
        )
    return file.prepared


def _write_launched(file: StageFile, prepared: Prepared, path: Path) -> Path:
    """What the ranks are told: the stage file with the newest good state of this moment."""
    newest = newest_state(
        Path(file.store), file.run, file.stage, prepared.key, file.salt, file.before_step
    )
    told = file.model_copy(update={"prepared": prepared.model_copy(update={"resume": newest})})
    if newest is not None:
        logging.info("goes on from %s", newest.path)
    replace_file(path, yaml_numbers.dump(told.dump()))
    return path


def _watch(ranks: Ranks, file: StageFile, place: Placement, work_dir: Path) -> tuple[bool, str]:
    """Serve signals and the watchdog until every rank has ended: (stop requested, how long they
    were stuck)."""
    watchdog = Watchdog(file.no_progress_seconds, time.monotonic())
    follower = _follower(place, work_dir)
    stop_requested, stuck = False, ""
    deadline: float | None = None
    while ranks.running:
        received = signal.sigtimedwait(SIGNALS, TICK)
        now = time.monotonic()
        if received and received.si_signo != signal.SIGCHLD and not stop_requested:
            stop_requested = True
            deadline = min(deadline or now + file.grace_seconds, now + file.grace_seconds)
            ranks.tell(signal.SIGTERM)
        ranks.reap()
        if ranks.failed and deadline is None:
            deadline = now + PEER_SECONDS
            ranks.tell(signal.SIGTERM)
        if deadline is None and watchdog.is_stuck(read_progress(work_dir / "progress.json"), now):
            stuck, deadline = watchdog.said, now + STACK_SECONDS
            ranks.abort()
        if deadline is not None and now >= deadline:
            ranks.kill()
        if follower:
            follower.copy()
    end_children()
    if follower:
        follower.close()
    return stop_requested, stuck


def _follower(place: Placement, work_dir: Path) -> LogFollower | None:
    """On a cluster (ACEREASON_LOG_STDOUT=1) `kubectl logs` shows what the ranks write."""
    if os.environ.get("ACEREASON_LOG_STDOUT") != "1":
        return None
    numbers = [place.rank(local) for local in range(place.ranks_per_node)]
    return LogFollower([(n, log_path(work_dir, n)) for n in numbers])


def _record(
    end: End,
    work_dir: Path,
    artifact: PublishedArtifact | None = None,
    publish_seconds: float | None = None,
    came_to: Mapping[str, float] | None = None,
) -> ResultRecord:
    """came_to: metrics of the artifact."""
    progress = read_progress(work_dir / "progress.json") or Progress(step=0)
    return ResultRecord(
        exit_code=end.code,
        reason=end.reason,
        message=end.message,
        rank=end.rank,
        step=progress.step,
        artifact=artifact,
        publish_seconds=publish_seconds,
        metrics=few_metrics(came_to or {}, progress.metrics),
        log_tail=tail_of(log_path(work_dir, end.rank)) if end.rank is not None else "",
    )


def _publish_seconds(
    store: DirectoryStore, published: PublishedArtifact, work_dir: Path
) -> float | None:
    """From the beginning of the phase `publish` to the time in the manifest."""
    progress = read_progress(work_dir / "progress.json")
    if progress is None or progress.phase != "publish":
        return None
    began = datetime.fromisoformat(progress.updated_at)
    ended = datetime.fromisoformat(store.manifest(published.uri).created_at)
    return max(0.0, (ended - began).total_seconds())


def _without_directory(refused: Refused) -> int:
    """An end without a record of its own: the attempt's directory is not ours to write."""
    end = refused.end
    print(f"launcher: {end.reason}: {end.message}", file=sys.stderr)
    write_termination_log(
        fitted(ResultRecord(exit_code=end.code, reason=end.reason, message=end.message))
    )
    return end.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m acereason_trainer.launch",
        description="Start the ranks of a prepared stage attempt on this node, watch them, end "
        "with one code for all of them and leave result.json.",
        epilog="Exit codes: 0 published, 65 a corrupt input, 75 try again, 76 health stop, 78 the "
        "settings are wrong, 143 stopped; anything else is the stage's failure. Environment: "
        "JOB_COMPLETION_INDEX, MASTER_ADDR, MASTER_PORT with several nodes; "
        "ACEREASON_LOG_STDOUT=1 copies the ranks' logs to stdout; ACEREASON_TERMINATION_LOG names "
        "a file for a second copy of the record. "
        "Example: python -m acereason_trainer.launch 1/stage.yaml",
    )
    parser.add_argument(
        "stage_file", type=Path, metavar="STAGE_FILE", help="stage.yaml with its `prepared` section"
    )
    # Another program in the ranks' place, as a JSON list: tests, and debugging a rank by hand.
    parser.add_argument("--rank-command", type=json.loads, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
