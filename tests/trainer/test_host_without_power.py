"""A host that goes without a word, as one that loses power does, is noticed by other ranks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.left_out import LeftOut

PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
HOSTS = ("10.77.0.1", "10.77.0.2")
RANK = """
import json, os, sys
from acereason_trainer import process_group
from acereason_trainer.stage import StageFailure

process_group.ASKED_AFTER = process_group.ASKED_EVERY = process_group.ASKED_TIMES = 1
number, waits, said = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.environ |= {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29500", "RANK": str(number)}
os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}
os.environ["GLOO_SOCKET_IFNAME"] = "cable"

def work():
    print("here", flush=True)
    if number != waits:
        sys.stdin.read()

try:
    with process_group.meet(os.environ) as peers:
        peers.together(lambda: None)
        peers.together(work)
except StageFailure as failure:
    with open(said, "w") as file:
        json.dump([failure.code, failure.reason, failure.message], file)
os._exit(0)  # as a rank that fails does (__main__.run_to_its_end)
"""


@pytest.fixture
def hosts() -> Iterator[list[int]]:
    """Two networks with a cable between them, named by a process in each."""
    if os.geteuid() != 0 or which("ip") is None:
        raise LeftOut("two networks on one machine need root, and the program ip")
    holders = [
        subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; cat"], **PIPES) for _ in HOSTS
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            if not holder.stdout.readline():
                raise LeftOut("this machine makes no further networks (unshare --net)")
        pids = [holder.pid for holder in holders]
        cable = ("link", "add", "cable", "type", "veth", "peer", "name", "cable")
        on(pids[0], "ip", *cable, "netns", str(pids[1]))
        for pid, address in zip(pids, HOSTS, strict=True):
            on(pid, "ip", "address", "add", f"{address}/24", "dev", "cable")
            on(pid, "ip", "link", "set", "cable", "up")
            on(pid, "ip", "link", "set", "lo", "up")
            # What a rank was still sending is given up as soon.
            on(pid, "sh", "-c", "echo 3 > /proc/sys/net/ipv4/tcp_retries2")
        yield pids
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def inside(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


def on(pid: int, *command: str) -> None:
    """Run a program on a host."""
    subprocess.run([*inside(pid), *command], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("waits", [0, 1], ids=["the leader is left", "the leader's host goes"])
def test_who_waits_for_a_rank_whose_host_goes_without_a_word_ends(
    tmp_path: Path, hosts: list[int], waits: int
) -> None:
    """About 10 s of CPU for each case: two processes import torch."""
    said = tmp_path / "said.json"
    ranks = [
        subprocess.Popen(
            [*inside(pid), sys.executable, "-c", RANK, str(n), str(waits), str(said)], **PIPES
        )
        for n, pid in enumerate(hosts)
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline() == b"here\n"
        # The address goes, and nothing that could refuse or close a connection is left.
        on(hosts[1 - waits], "ip", "address", "flush", "dev", "cable")
        assert ranks[waits].wait() == 0
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    code, reason, message = json.loads(said.read_text())
    assert (code, reason) == (75, "LostPeer"), message
