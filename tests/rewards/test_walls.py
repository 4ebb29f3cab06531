"""What a model-written program cannot do: reach the network, the store, other processes.

The kernel's two walls are tried for real. A kernel without them is made by forbidding this test's
own process the two system calls; then programs must still end, and the log says what is missing.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.rewards.program import Program
from acereason_trainer.rewards.sandbox import Allowance, Outcome, Sandbox

LIMITS = Allowance(cpu_seconds=1, idle_seconds=2, memory_mib=256, output_bytes=1 << 16)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox()
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def missing() -> str:
    """What the log says about walls that this kernel does not have; "" where it has both."""
    script = (
        "import logging\nfrom acereason_trainer.config.common import Verifier\n"
        "from acereason_trainer.rewards import make_rewarder\nlogging.basicConfig()\n"
        "r = make_rewarder('code', Verifier(workers=1))\n"
        "row = {'tests': [{'input': '', 'output': '1'}]}\n"
        "r.submit(row, '</think>\\n```python\\nprint(1)\\n```').result(60)\nr.close()"
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    ).stderr


def run(sandbox: Sandbox, source: str) -> Outcome:
    return sandbox.run(Program(source), None, b"", LIMITS)


@pytest.mark.parametrize(
    "source",
    [
        "import socket\nsocket.socket()",
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import os\nos.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.execv('/bin/true', ['true'])",
        "import multiprocessing as m\np = m.Process(target=print)\np.start()\np.join()",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.kill(-1, 9)",
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
        "import resource, os\nresource.prlimit(os.getppid(), resource.RLIMIT_AS, (1, 1))",
        # What ends by SIGKILL was ended by the machine, and costs no 0.
        "import os\nos.kill(os.getpid(), 9)",
        "import os\nos.kill(0, 9)",
        "import signal\nsignal.raise_signal(9)",
        "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
        "import ctypes\nl = ctypes.CDLL(None)\nassert l.syscall(160, 0, b'\\1' * 16) == 0",
        "open('here', 'w')",
        "import os\nos.chmod('/tmp', 0)",
        "import os\nos.mkdir('/tmp/acereason-was-here')",
        "import os\nos.setuid(65534)",
        "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n"
        "assert l.unshare(0x10000000) == 0",  # CLONE_NEWUSER
        "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\nassert l.ptrace(16, 1, 0, 0) == 0",
    ],
)
def test_a_system_call_is_refused(sandbox: Sandbox, missing: str, source: str) -> None:
    if "refuses seccomp filters" in missing:
        pytest.skip("this kernel refuses seccomp filters, and the log says so")
    outcome = run(sandbox, source + "\nprint('done')")
    assert b"done" not in outcome.stdout
    assert outcome.exit_status != 0


@pytest.mark.parametrize(
    "source",
    [
        "open('/etc/passwd').read()",
        "open('/proc/self/environ').read()",
        "open('/proc/1/cmdline').read()",
        "import os\nos.listdir('/')",
        "import os\nos.listdir('/tmp')",
        "open('/tmp/acereason-was-here', 'w')",
    ],
)
def test_a_path_is_refused(sandbox: Sandbox, missing: str, source: str) -> None:
    if "has no landlock" in missing:
        pytest.skip("this kernel has no landlock, and the log says so")
    outcome = run(sandbox, source)
    assert outcome.exit_status == 1
    assert "PermissionError" in outcome.stderr


def test_the_store_is_neither_read_nor_written(
    sandbox: Sandbox, missing: str, tmp_path: Path
) -> None:
    if "has no landlock" in missing:
        pytest.skip("this kernel has no landlock, and the log says so")
    secret = tmp_path / "artifacts" / "tests.jsonl"
    secret.parent.mkdir()
    secret.write_text("expected output")
    tmp_path.chmod(0o777)
    for source in (
        f"print(open({str(secret)!r}).read())",
        f"open({str(secret)!r}, 'w')",
        f"import os\nos.remove({str(secret)!r})",
        f"import os\nos.truncate({str(secret)!r}, 0)",
    ):
        outcome = run(sandbox, source)
        assert outcome.exit_status == 1
        assert "PermissionError" in outcome.stderr or "not implemented" in outcome.stderr
    assert secret.read_text() == "expected output"


def test_nothing_of_the_environment_is_passed_on(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    outcome = run(sandbox, "import os\nprint(dict(os.environ))")
    assert outcome.stdout == b"{}\n"


def test_a_program_imports_nothing_of_ours(sandbox: Sandbox) -> None:
    names = [
        "walls",
        "processes",
        "sandboxed",
        "sandboxed.walls",
        "acereason_trainer",
        "acereason_trainer.processes",
        "acereason_trainer.rewards.sandboxed.walls",
    ]
    source = f"""
import importlib, sys
print(*[name for name in sys.modules if "acereason" in name])
for name in {names}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        print(name)
"""
    assert run(sandbox, source).stdout.decode().split() == names


def test_a_program_without_a_wall_is_still_ended_with_all_it_started(tmp_path: Path) -> None:
    """Costs about 5 s: two sandboxes, and a wall-clock limit that is waited for."""
    script = tmp_path / "old_kernel.py"
    script.write_text(OLD_KERNEL)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["verdicts"] == {"right": "correct", "orphan": "timeout", "loop": "timeout"}
    assert found["left"] == []
    assert done.stderr.count("has no landlock") == 1
    assert done.stderr.count("refuses seccomp filters") == 1


# Refuses prctl(PR_SET_SECCOMP) and landlock_create_ruleset, as a kernel without them would.
OLD_KERNEL = '''
import ctypes, errno, json, logging, os, struct, sys
from pathlib import Path
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import make_rewarder
from acereason_trainer.rewards.sandboxed import walls

logging.basicConfig(format="%(message)s")
SECCOMP = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
op = lambda code, k, t=0, f=0: struct.pack("HBBI", code, t, f, k)
walls.forbid_new_privileges()
assert walls.restrict_system_calls(b"".join([
    op(0x20, 0),
    op(0x15, 444, 3, 0),
    op(0x15, SECCOMP, 0, 3),
    op(0x20, 16),
    op(0x15, 22, 0, 1),
    op(0x06, 0x00050000 | errno.ENOSYS),
    op(0x06, 0x7fff0000),
]))
here = Path(sys.argv[1])
ORPHAN = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({str(here / "pid")!r}, "w").write(str(os.getpid()))
        time.sleep(600)
time.sleep(600)
"""
PROGRAMS = {"right": "print(1)", "orphan": ORPHAN, "loop": "while True: pass"}
verifier = Verifier(workers=2, code=CodeLimits(seconds_per_test=1, memory_mib=256))
rewarder = make_rewarder("code", verifier)
row = {"tests": [{"input": "", "output": "1"}]}
verdicts = {
    name: rewarder.submit(row, f"</think>\\n```python\\n{source}\\n```").result(60).verdict
    for name, source in PROGRAMS.items()
}
left = [pid for pid in (here / "pid").read_text().split() if Path("/proc", pid).exists()]
rewarder.close()
print(json.dumps({"verdicts": verdicts, "left": left}))
'''


def test_the_log_says_which_walls_are_missing_and_nothing_else(
    sandbox: Sandbox, missing: str
) -> None:
    sandbox.close()
    stands = sandbox.start()
    assert ("has no landlock" in missing) is not stands["landlock"]
    assert ("refuses seccomp filters" in missing) is not stands["seccomp"]
    assert len(missing.splitlines()) == list(stands.values()).count(False)
