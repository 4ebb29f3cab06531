"""A rank that does not come to a collective is named, as is one that is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.launch.free_port import free_port
from acereason_trainer.process_group import meet
from acereason_trainer.stage import StageFailure
from torch import distributed

RANK = """
import json, os, sys
from datetime import timedelta
from torch import distributed, ones
from acereason_trainer.process_group import meet
from acereason_trainer.stage import StageFailure

number, port, does, said = sys.argv[1:]
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": number, "WORLD_SIZE": "2"}
os.environ["LOCAL_RANK"] = number
try:
    with meet(os.environ):
        group = distributed.new_group(backend="gloo")
        if number == "0":
            if does == "hangs":
                distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=1), group)
            distributed.all_reduce(ones(1), group=group)
        elif does == "hangs":
            sys.stdin.read()
        else:
            os._exit(9)
except StageFailure as failure:
    with open(said, "w") as file:
        json.dump([failure.code, failure.reason, failure.message], file)
os._exit(0)  # as a rank that fails does (__main__.run_to_its_end)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("does", "reason"), [("hangs", "HungCollective"), ("dies", "LostPeer")])
def test_a_rank_that_does_not_come_is_temporary(tmp_path: Path, does: str, reason: str) -> None:
    """About 10 s of CPU: two processes import torch. The limit is a second in the place of half an
    hour."""
    port, said = str(free_port()), [tmp_path / "said-0.json", tmp_path / "said-1.json"]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(n), port, does, said[n]], stdin=subprocess.PIPE
        )
        for n in range(2)
    ]
    assert ranks[0].wait() == 0
    ranks[1].communicate(b"")
    code, told, message = json.loads(said[0].read_text())
    assert (code, told) == (75, reason)
    assert "another rank" in message


@pytest.mark.parametrize(
    "said",
    [
        "Gloo connectFullMesh failed with [tcp.cc:288] timed out connecting: SO_ERROR: No route",
        "[tcp/pair.cc:534] Network is unreachable",
        "Socket unexpectedly closed [10.0.0.7]:41234",
        "[tcp/unbound_buffer.cc:81] Pair is not connected (4)",
    ],
)
def test_a_network_that_fails_is_a_peer_that_is_lost(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """In gloo's words, of which there are many."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in {**place, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StageFailure) as ended, meet(os.environ):
        raise RuntimeError(said)
    distributed.destroy_process_group()  # after a failure nobody else does
    assert (ended.value.code, ended.value.reason) == (ExitCode.TEMPORARY, "LostPeer")
