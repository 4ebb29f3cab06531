"""One rank of a stage attempt: `python -m acereason_trainer STAGE_FILE`.

The launcher starts it with torchrun's variables; by hand it is rank 0 of 1. Its exit code is one of
the contract's (config/exit_codes.py); where it knows why it ends, `rank-<r>.failure.json` says so.
"""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from acereason_trainer.artifacts.errors import AWAY, Corrupt, NotFound, StoreFull, no_room_told
from acereason_trainer.artifacts.flushing import replace_file
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.read_stage_file import BadStageFile, read_stage_file
from acereason_trainer.config.stage_file import StageSettings
from acereason_trainer.stage import StageContext, StageFailure, Stopped

STAGES = {
    "curate": "acereason_trainer.curation.stage",
    "sft": "acereason_trainer.sft.loop",
    "mathRL": "acereason_trainer.rl.loop",
    "codeRL": "acereason_trainer.rl.loop",
    "evaluate": "acereason_trainer.evaluation.stage",
}
"""Module of each stage kind; its `run(context)` does the work. Imported when it is asked for:
torch and the model classes take seconds."""


def main() -> int:
    """Run the stage; returns the contract's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m acereason_trainer",
        description="Run one rank of a stage attempt.",
        epilog="example: python -m acereason_trainer 1/stage.yaml",
    )
    parser.add_argument(
        "stage_file", type=Path, metavar="STAGE_FILE", help="stage.yaml with its `prepared` section"
    )
    path = parser.parse_args().stage_file
    try:
        file = read_stage_file(path)
    except BadStageFile as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_CONFIGURATION
    if file.prepared is None:
        print(
            f"{path} has no `prepared` section; run python -m acereason_trainer.prepare first",
            file=sys.stderr,
        )
        return ExitCode.BAD_CONFIGURATION
    store = Path(file.store)
    context = StageContext(
        file=file, prepared=file.prepared, store=store, work_dir=store / file.work_dir
    )
    context.stop.listen()
    return carry_out(context)


def carry_out(context: StageContext) -> int:
    """Run the stage and turn each way of ending into the contract's code."""
    try:
        # Each writer says what it was writing; its log, which is on the store, a rank only prints.
        with no_room_told(context.work_dir):
            if is_alone():
                verify_inputs(context)
            stage: Callable[[StageContext], None] = import_module(
                STAGES[context.file.settings.kind]
            ).run
            if asks_a_model(context.file.settings):
                configure_torch()
                leave_out_progress_bars()
            share_out(stage, context)
    except Stopped:
        return ExitCode.STOPPED
    except StageFailure as failure:
        return leave(context, failure)
    except (Corrupt, NotFound) as corrupt:
        return leave(context, StageFailure(ExitCode.CORRUPT_INPUT, "CorruptInput", str(corrupt)))
    except StoreFull as full:
        return leave(context, StageFailure(ExitCode.TEMPORARY, "StoreFull", str(full)))
    except OSError as error:
        if error.errno not in AWAY or _is_own_root(error, context.store):
            raise
        return leave(context, StageFailure(ExitCode.TEMPORARY, "StoreUnusable", str(error)))
    return ExitCode.DONE


def _is_own_root(error: OSError, store: Path) -> bool:
    """Whether a place is read-only because a container's root is: what writes there is told to."""
    place = error.filename
    return (
        error.errno == errno.EROFS
        and isinstance(place, str)
        and not Path(place).is_relative_to(store)
    )


def share_out(stage: Callable[[StageContext], None], context: StageContext) -> None:
    """Carry out the stage with the other ranks of the attempt, where there are others."""
    if is_alone():
        stage(context)
        return
    from acereason_trainer.process_group import meet  # torch, which rules alone do without

    with meet(os.environ, context.stop) as peers:
        first_here = os.environ["LOCAL_RANK"] == "0"  # one look for all ranks of a machine
        peers.together(lambda: verify_inputs(context) if first_here else None)
        stage(replace(context, peers=peers))


def is_alone() -> bool:
    """Whether this is the attempt's only rank."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def verify_inputs(context: StageContext) -> None:
    """Hash every input against its digest: nothing unverified is ever trained on."""
    inputs = context.prepared.inputs
    store = DirectoryStore(context.store)
    for ref in (inputs.model, inputs.data, inputs.validation, *inputs.held_out):
        if ref is None:
            continue
        try:
            store.verify(ref)
        except (Corrupt, NotFound) as error:
            raise StageFailure(ExitCode.CORRUPT_INPUT, "CorruptInput", str(error)) from error


def asks_a_model(settings: StageSettings) -> bool:
    """Whether a stage needs torch: curation by rules alone does not, and starts seconds earlier."""
    return settings.curate is None or settings.curate.pass_rate is not None


def configure_torch() -> None:
    """Threads from OMP_NUM_THREADS, and only operations that give the same bits again."""
    import torch

    from acereason_trainer.policy.amx import make_bfloat16_safe

    make_bfloat16_safe()
    # Without it cuBLAS takes what memory it finds, and with that another order of its sums.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    # Some CUDA operations (a cumulative sum, for one) have no deterministic form: there it warns.
    torch.use_deterministic_algorithms(mode=True, warn_only=torch.cuda.is_available())
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # it would write each cache twice


def leave_out_progress_bars() -> None:
    """A log is read line by line, later; transformers draws bars for whoever watches."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def leave(context: StageContext, failure: StageFailure) -> int:
    """Write the rank's own sentence for the launcher, and end with the failure's code, which stands
    where a full store takes neither the sentence nor the log."""
    rank = os.environ.get("RANK", "0")
    said = {"exitCode": int(failure.code), "reason": failure.reason, "message": failure.message}
    with suppress(StoreFull, OSError):
        replace_file(context.work_dir / f"rank-{rank}.failure.json", json.dumps(said).encode())
    with suppress(OSError):
        print(f"{failure.reason}: {failure.message}", file=sys.stderr)
    return failure.code


def run_to_its_end() -> NoReturn:
    """End this process with a code of the contract, or with 1 and a traceback.

    After a failure the ranks' connections stay open (process_group.meet), and with them threads of
    torch; one that is at work while the interpreter goes aborts the process, which the launcher
    would take for a crash. So it does not go then: all is closed and said by now.
    """
    try:
        code = main()
    except Exception:  # noqa: BLE001 (as the interpreter would, but for its own end)
        with suppress(OSError):  # nobody reads it, or the disk is full
            traceback.print_exc()
        code = 1
    if code == ExitCode.DONE:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run_to_its_end()
