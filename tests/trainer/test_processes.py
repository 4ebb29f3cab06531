"""What the kernel tells of another process."""

import os
import subprocess
import sys
import time

import pytest
from acereason_trainer.processes import cpu_seconds, stat_words

BURN = """
from pathlib import Path
import time
Path("/proc/self/comm").write_text(") R 1 (")
while time.process_time() < 0.1:
    pass
print(time.process_time(), flush=True)
input()
"""


def test_a_process_is_read_whatever_its_name() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        used = float(child.stdout.readline())
        assert used <= cpu_seconds(child.pid) < used + 10
        assert stat_words(child.pid)[1] == str(os.getpid())
        assert stat_words(f"{child.pid}/task/{child.pid}")[1] == str(os.getpid())
        child.stdin.close()
    with pytest.raises(FileNotFoundError):
        stat_words(child.pid)
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(child.pid)


def test_the_own_clock_is_the_one_that_python_reads() -> None:
    before = time.process_time()
    assert before <= cpu_seconds(os.getpid()) <= time.process_time()
