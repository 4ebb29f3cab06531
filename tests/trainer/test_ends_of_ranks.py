"""What ends one rank in the middle of what all do ends the others there, and in the same way."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.peers import Peers
from acereason_trainer.stage import StageFailure, Stopped

from tests.ranks_in_threads import on_two_ranks
from tests.waiting import wait_for

RANK = """
import json, os, signal, sys, threading, time
from contextlib import suppress
from datetime import timedelta
from acereason_trainer import process_group
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.process_group import meet
from acereason_trainer.stage import StageFailure, StopFlag, Stopped

number, port, does, said = sys.argv[1:]
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": number, "WORLD_SIZE": "2"}
os.environ["LOCAL_RANK"] = number
process_group.LAST_WORDS = timedelta(seconds=120)  # a busy machine is no deaf rank
stop = StopFlag()
stop.listen()

def until_it_hears(peers):
    while True:
        stop.check()
        peers.check()
        time.sleep(0.01)

def fail():
    raise StageFailure(ExitCode.BAD_CONFIGURATION, "Failed", f"rank {number} cannot")

def stopped_soon():
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

def under_the_leader(peers):
    if number == "1" and does == "is stopped while the leader works":
        stopped_soon()
    peers.led(fail if does == "waits for a leader that fails" else lambda: until_it_hears(peers))

def with_a_deaf_one(peers):
    process_group.LAST_WORDS = timedelta(seconds=0.5)
    peers.together(fail if number == "1" else sys.stdin.read)

def with_a_dead_one(peers):
    if number == "1":
        peers.call_off()  # tells rank 0 that both have met
        peers.together(fail)
    with suppress(Stopped):
        until_it_hears(peers)
    os._exit(0)

def both_fail(peers):
    peers.together(fail)

def within(peers):
    peers.together(lambda: fail() if number == "0" else peers.led(lambda: 1))

def work(peers):
    if number == "0":
        until_it_hears(peers)
    if does == "fails":
        raise StageFailure(ExitCode.BAD_CONFIGURATION, "Failed", "rank 1 cannot")
    if does == "stops":
        raise Stopped
    if does == "breaks":
        raise KeyError("a mistake of ours")
    stopped_soon()  # it waits for rank 0 then

DOES = {
    "is stopped while the leader works": under_the_leader,
    "waits for a leader that fails": under_the_leader,
    "fails beside a deaf one": with_a_deaf_one,
    "fails beside a dead one": with_a_dead_one,
    "both fail": both_fail,
    "settles within": within,
}
try:
    with meet(os.environ, stop) as peers:
        DOES.get(does, lambda peers: peers.together(lambda: work(peers)))(peers)
    end = ["went on"]
except Stopped:
    end = ["stopped"]
except StageFailure as failure:
    end = [failure.code, failure.reason, failure.message]
except KeyError as mistake:
    end = ["broke"]
except RuntimeError as mistake:
    end = [str(mistake).split(":")[0]]
with open(said, "w") as file:
    json.dump(end, file)
os._exit(0)  # as a rank that fails does (__main__.run_to_its_end)
"""
NESTED = "this settles something between ranks within what they settle already"
LOST = "rank 1 ended with KeyError: 'a mistake of ours'; its own log says more"


ENDS_OF_ONE: list[tuple[str, list[list[object]]]] = [
    ("stops", [["stopped"], ["stopped"]]),
    ("fails", [[78, "Failed", "rank 1 cannot"]] * 2),
    ("breaks", [[75, "LostPeer", LOST], ["broke"]]),
]
"""What rank 1 does while rank 0 looks for ends, and how both end."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "ends"),
    [
        *ENDS_OF_ONE,
        ("is stopped while it waits", [["stopped"], ["stopped"]]),
        ("is stopped while the leader works", [["stopped"], ["stopped"]]),
        ("waits for a leader that fails", [[78, "Failed", "rank 0 cannot"]] * 2),
        ("both fail", [[78, "Failed", f"rank {number} cannot"] for number in range(2)]),
        ("settles within", [[78, "Failed", "rank 0 cannot"], [NESTED]]),
    ],
)
def test_a_rank_in_the_middle_of_long_work_ends_as_the_other_has(
    tmp_path: Path, does: str, ends: list[list[object]]
) -> None:
    """About 10 s of CPU for each case: two processes import torch."""
    with two_ranks(tmp_path, does) as ranks:
        assert [rank.wait() for rank in ranks] == [0, 0]
    assert [said(tmp_path, number) for number in range(2)] == ends


RAISES = {
    "stops": Stopped(),
    "fails": StageFailure(ExitCode.BAD_CONFIGURATION, "Failed", "rank 1 cannot"),
    "breaks": KeyError("a mistake of ours"),
}


@pytest.mark.parametrize(("does", "ends"), ENDS_OF_ONE)
def test_ranks_in_threads_end_as_those_in_processes(does: str, ends: list[list[object]]) -> None:
    """So other tests may have their ranks in threads."""

    def end_of(peers: Peers) -> list[object]:
        def looks() -> bool:
            peers.check()
            return False

        def work() -> None:
            if peers.rank == 1:
                raise RAISES[does]
            wait_for(looks, "the end of rank 1")

        try:
            peers.together(work)
        except Stopped:
            return ["stopped"]
        except StageFailure as failure:
            return [failure.code, failure.reason, str(failure)]
        except KeyError:
            return ["broke"]
        return ["went on"]

    assert on_two_ranks(end_of) == ends


@pytest.mark.slow
@pytest.mark.parametrize("does", ["fails beside a deaf one", "fails beside a dead one"])
def test_a_rank_that_fails_says_so_itself_though_the_other_never_hears_it(
    tmp_path: Path, does: str
) -> None:
    """About 10 s of CPU for each case: two processes import torch."""
    with two_ranks(tmp_path, does) as ranks:
        assert ranks[1].wait() == 0
    assert said(tmp_path, 1) == [78, "Failed", "rank 1 cannot"]


@contextmanager
def two_ranks(tmp_path: Path, does: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """What rank 1 does, or both; killed at the end."""
    port = str(free_port())
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(n), port, does, tmp_path / f"said-{n}.json"],
            stdin=subprocess.PIPE,
        )
        for n in range(2)
    ]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()


def said(tmp_path: Path, number: int) -> list[object]:
    """How a rank ended."""
    end: list[object] = json.loads((tmp_path / f"said-{number}.json").read_text())
    return end
