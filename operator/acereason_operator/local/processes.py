"""Starting and ending the process of a Job."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from acereason_operator.local.job_files import JobFiles
from acereason_operator.planner.observed import Phase

MODULES: dict[Phase, str] = {
    "Prepare": "acereason_trainer.prepare",
    "Train": "acereason_trainer.launch",
}
RANK_COMMAND = "ACEREASON_RANK_COMMAND"
"""A JSON list: another program in the place of the ranks. For tests, and for a rank under a
debugger; see `--rank-command` of acereason_trainer.launch."""


def start(files: JobFiles, environment: Mapping[str, str]) -> "subprocess.Popen[bytes] | None":
    """Start a Job's process in a session of its own, so that a terminal's Ctrl-C does not reach it.

    Its directory and stage file are there. None where the Job was started before, by whomever.
    """
    lock = os.open(files.mark, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if files.pid is not None:
            return None
        return _start(files, environment, lock)
    finally:
        os.close(lock)


def ask_to_stop(files: JobFiles) -> None:
    """SIGTERM to the process of a Job, if it runs."""
    pid = files.pid
    if pid is not None and files.alive:  # alive: the pid cannot be another process's
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(files: JobFiles) -> None:
    """SIGKILL to the process of a Job, if it runs. Ranks end with their launcher."""
    pid = files.pid
    if pid is not None and files.alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _start(files: JobFiles, environment: Mapping[str, str], lock: int) -> "subprocess.Popen[bytes]":
    def sign_in() -> None:
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    with files.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", MODULES[files.phase], str(files.stage_file), *_options(files)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            pass_fds=[lock],
            # Signed before the program begins: there is no process without its pid on disk. It
            # takes no lock of Python's, so threads of this process do not matter.
            preexec_fn=sign_in,  # noqa: PLW1509
        )


def _options(files: JobFiles) -> list[str]:
    command = os.environ.get(RANK_COMMAND)
    if command is None or files.phase == "Prepare":
        return []
    json.loads(command)
    return ["--rank-command", command]
