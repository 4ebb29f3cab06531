import errno
import os
import subprocess
import sys
import threading

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.locks import Held, holding, is_held, sharing

HOLD = """
import sys
from pathlib import Path
from acereason_trainer.artifacts.locks import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_its_holder_and_ends_with_its_death(tmp_path):
    lock = tmp_path / "new" / "lock"
    assert not is_held(lock)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert is_held(lock)
        with pytest.raises(Held, match=f"held by process {process.pid}"), holding(lock):
            pass
        process.kill()
    assert not is_held(lock)
    with holding(lock):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_a_full_disk_is_locked_without_a_name_since_whoever_makes_room_there_holds_a_lock(tmp_path):
    """A limit on the size of files stands for it: there is a directory entry, and no block."""
    lock = tmp_path / "lock"
    with subprocess.Popen(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Held, match="held by process unknown"), holding(lock):
            pass
        process.kill()


@pytest.mark.parametrize("kind", [holding, sharing])
def test_a_lock_that_finds_no_room_says_so_with_what_to_do(tmp_path, monkeypatch, kind):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *args[:1])

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StoreFull, match=r"lock .*gc --dry-run"), kind(tmp_path / "lock"):
        pass


def test_those_who_share_a_lock_keep_out_only_who_wants_it_alone(tmp_path):
    lock = tmp_path / "lock"
    with sharing(lock), sharing(lock):
        assert not is_held(lock)
        with pytest.raises(Held), holding(lock):
            pass
    with holding(lock):
        assert is_held(lock)


def test_looking_at_a_lock_keeps_nobody_from_taking_it(tmp_path):
    lock = tmp_path / "lock"
    lock.touch()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            is_held(lock)

    onlooker = threading.Thread(target=look)
    onlooker.start()
    try:
        for _ in range(200):
            with holding(lock):
                pass
    finally:
        done.set()
        onlooker.join()
