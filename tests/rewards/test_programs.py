"""Programs as people write them pass; programs that are wrong, greedy or hostile do not."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acereason_trainer.config.common import CodeLimits, Verifier
from acereason_trainer.rewards import Grade, Rewarder, Verdict, make_rewarder
from acereason_trainer.rewards.outputs import same_output, same_value
from acereason_trainer.rewards.program import entry_point

LIMITS = CodeLimits(seconds_per_test=1, seconds_per_program=3, memory_mib=256, output_kib=64)
SUM = [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "2\n10 20\n", "output": "30"}]


@pytest.fixture(scope="module")
def rewarder() -> Iterator[Rewarder]:
    made = make_rewarder("code", Verifier(workers=2, code=LIMITS))
    yield made
    made.close()


def grade(rewarder: Rewarder, program: str, **row: object) -> Grade:
    response = f"Let me think.</think>\nHere:\n```python\n{program}\n```\n"
    return rewarder.submit({"tests": SUM, **row}, response).result(60)


IDIOMS = {
    "input()": "input()\nprint(sum(map(int, input().split())))",
    "main guard": "def main():\n    input()\n    print(sum(map(int, input().split())))\n"
    "if __name__ == '__main__':\n    main()",
    "input = sys.stdin.readline": "import sys\ninput = sys.stdin.readline\ninput()\n"
    "print(sum(map(int, input().split())))",
    "for line in sys.stdin": "import sys\nlines = [line for line in sys.stdin]\n"
    "print(sum(map(int, lines[1].split())))",
    "sys.stdin.buffer": "import sys\nsys.stdin.buffer.readline()\n"
    "print(sum(map(int, sys.stdin.buffer.readline().split())))",
    "sys.stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))",
    "open(0)": "print(sum(map(int, open(0).read().split()[1:])))",
    "/dev/stdin": "print(sum(map(int, open('/dev/stdin').read().split()[1:])))",
    "os.read with fstat": "import os\n"
    "print(sum(map(int, os.read(0, os.fstat(0).st_size).split()[1:])))",
    "BytesIO over os.read": "import io, os\n"
    "input = io.BytesIO(os.read(0, 1 << 16)).readline\ninput()\n"
    "print(sum(map(int, input().split())))",
    "sys.stdout.buffer.write": "import sys\ninput()\n"
    "sys.stdout.buffer.write(str(sum(map(int, input().split()))).encode())",
    "sys.stdout.write": "import sys\ninput()\n"
    "sys.stdout.write(str(sum(map(int, input().split()))))",
    "os.write": "import os\ninput()\nos.write(1, str(sum(map(int, input().split()))).encode())",
    "quit()": "input()\nprint(sum(map(int, input().split())))\nquit()",
    "sys.exit": "import sys\ninput()\nprint(sum(map(int, input().split())))\nsys.exit(0)",
    "exit in a function": "def f():\n    print(sum(map(int, input().split())))\n    exit()\n"
    "input()\nf()",
    "global": "total = 0\ndef add(x):\n    global total\n    total += x\ninput()\n"
    "for x in input().split():\n    add(int(x))\nprint(total)",
    "from __future__": "from __future__ import annotations\ninput()\n"
    "print(sum(map(int, input().split())))",
    "thread with a large stack": "import sys, threading\nsys.setrecursionlimit(10**6)\n"
    "threading.stack_size(1 << 26)\ndef f(xs):\n    return xs[0] + f(xs[1:]) if xs else 0\n"
    "def main():\n    input()\n    print(f(list(map(int, input().split()))))\n"
    "t = threading.Thread(target=main)\nt.start()\nt.join()",
    "thread that is not joined": "import threading\ndef main():\n    input()\n"
    "    print(sum(map(int, input().split())))\nthreading.Thread(target=main).start()",
    "deep recursion": "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(300000)\n"
    "@lru_cache(None)\ndef f(n):\n    return 0 if n == 0 else f(n - 1)\ninput()\n"
    "print(sum(map(int, input().split())) + f(5000))",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ninput()\n"
    "print(sum(P(int(x)).x for x in input().split()))",
    "atexit": "import atexit\ninput()\natexit.register(print, sum(map(int, input().split())))",
    "resource limits": "import resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n"
    "input()\nprint(sum(map(int, input().split())))",
    "common imports": "import sys, math, collections, heapq, itertools, functools, bisect, re\n"
    "import string, json, random, fractions, decimal, operator, copy, datetime, typing\n"
    "input()\nprint(sum(map(int, input().split())))",
    "large integers": "input()\nassert len(str(2**20000)) > 6000\n"
    "print(sum(map(int, input().split())))",
    "end of input": "import sys\ndata = []\nwhile True:\n    try:\n        data.append(input())\n"
    "    except EOFError:\n        break\nprint(sum(map(int, data[1].split())))",
}


@pytest.mark.parametrize("program", IDIOMS.values(), ids=IDIOMS.keys())
def test_a_correct_program_passes_however_it_reads_and_writes(
    rewarder: Rewarder, program: str
) -> None:
    assert grade(rewarder, program).verdict == Verdict.CORRECT, grade(rewarder, program).detail


V = Verdict
BAD = {
    "wrong": ("print(7)", V.WRONG),
    "right once": ("print(6)", V.WRONG),
    "prints nothing": ("pass", V.WRONG),
    "too much": ("input()\nprint(sum(map(int, input().split())))\nprint(1)", V.WRONG),
    "raises": ("1 / 0", V.RUNTIME_ERROR),
    "raises after the answer": (
        "input()\nprint(sum(map(int, input().split())))\n1 / 0",
        V.RUNTIME_ERROR,
    ),
    "syntax": ("print(", V.RUNTIME_ERROR),
    "exits with 1": ("import sys\nsys.exit(1)", V.RUNTIME_ERROR),
    "os._exit(0) without an answer": ("import os\nos._exit(0)", V.WRONG),
    "loops": ("while True: pass", V.TIMEOUT),
    "loops and swallows everything": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except Exception: pass\nsignal.alarm(0)\nwhile True:\n"
        "    try:\n        while True: pass\n    except BaseException: pass",
        V.TIMEOUT,
    ),
    "sleeps": ("import time\ntime.sleep(600)", V.TIMEOUT),
    "raises its own limit": (
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_CPU, (600, 600))\n"
        "except Exception: pass\nwhile True: pass",
        V.TIMEOUT,
    ),
    "a tower in a literal": ("x = 10 ** 10 ** 10\nprint(x)", V.TIMEOUT),
    "eats memory": ("x = []\nwhile True: x.append(bytearray(1 << 20))", V.MEMORY),
    "asks for all memory": ("x = [0] * 10**11", V.MEMORY),
    "floods stdout": ("while True: print('x' * 1000)", V.OUTPUT_LIMIT),
    "floods stderr": (
        "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
        V.OUTPUT_LIMIT,
    ),
    "closes stdout": ("import os\nos.close(1)", V.WRONG),
    "segfaults": ("import ctypes\nctypes.string_at(0)", V.RUNTIME_ERROR),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)", V.RUNTIME_ERROR),
    "nests too deeply": ("x = " + "(" * 5000 + ")" * 5000, V.RUNTIME_ERROR),
}


@pytest.mark.parametrize(("program", "verdict"), BAD.values(), ids=BAD.keys())
def test_a_bad_program_gets_its_verdict(rewarder: Rewarder, program: str, verdict: Verdict) -> None:
    found = grade(rewarder, program)
    assert (found.verdict, found.reward) == (verdict, 0.0), found.detail


def test_the_sandbox_works_on_after_a_program_died_in_it(rewarder: Rewarder) -> None:
    grade(rewarder, "import os\nos.kill(os.getpid(), 11)")
    assert grade(rewarder, IDIOMS["open(0)"] + "  # again").verdict == Verdict.CORRECT


HACKS = {
    "an equal-to-all class": "class E(str):\n    def __eq__(self, other): return True\n"
    "    def __hash__(self): return 0\nprint(E('x'))",
    "frames and the garbage collector": "import sys, gc, re\n"
    "found = [str(o) for o in gc.get_objects()]\nf = sys._getframe()\nwhile f:\n"
    "    found.append(str(f.f_locals) + str(f.f_globals))\n    f = f.f_back\n"
    "m = re.search('secret-[0-9]+', ' '.join(found))\nprint(m[0] if m else 'no')",
    "memory of the parent": "import os\ntry:\n    open(f'/proc/{os.getppid()}/mem', 'rb').read(1)\n"
    "    print('secret-42')\nexcept OSError:\n    print('refused')",
    "descriptors": "import os\nfor d in range(3, 1024):\n    try:\n"
    "        os.write(d, b'secret-42')\n"
    "        print('open', d)\n    except OSError:\n        pass",
    "arguments of the parent": "import os\ntry:\n"
    "    print(open(f'/proc/{os.getppid()}/cmdline').read())\n"
    "except OSError:\n    print('refused')",
}


@pytest.mark.parametrize("program", HACKS.values(), ids=HACKS.keys())
def test_the_expected_output_is_nowhere_to_be_found(rewarder: Rewarder, program: str) -> None:
    tests = [{"input": "", "output": "secret-42"}]
    assert grade(rewarder, program, tests=tests).verdict == Verdict.WRONG


CALLS = [
    (
        "class Solution:\n    def add(self, a: int, b: int) -> int:",
        "class Solution:\n    def add(self, a, b):\n        return a + b",
        "[1, 2]",
        "3",
        V.CORRECT,
        "a method",
    ),
    ("def add(a, b):", "def add(a, b):\n    return a + b", "[1, 2]", "3", V.CORRECT, "a function"),
    (
        "def f(a):",
        "def f(a: List[int]) -> Optional[int]:\n    return Counter(a).most_common(1)[0][0]",
        "[[1, 2, 2]]",
        "2",
        V.CORRECT,
        "names that the problem's site imports",
    ),
    ("def f():", "def f():\n    return (1, 2)", "[]", "[1, 2]", V.CORRECT, "a tuple is a list"),
    ("def f():", "def f():\n    return 1", "[]", "true", V.WRONG, "1 is not true"),
    ("def f():", "def f():\n    return {1}", "[]", "[1]", V.RUNTIME_ERROR, "a set is no value"),
    ("def f():", "print('3')", "[]", "3", V.RUNTIME_ERROR, "no such function"),
    (
        "def f():",
        "class E:\n    def __eq__(s, o): return True\ndef f():\n    return E()",
        "[]",
        "3",
        V.RUNTIME_ERROR,
        "an equal-to-all object is no value",
    ),
    ("def f():", "def f():\n    print('noise')\n    return 3", "[]", "3", V.CORRECT, "prints too"),
    (
        "def f():",
        "def f():\n    return 50000000000000001",
        "[]",
        "50000000000000000",
        V.WRONG,
        "integers compare exactly",
    ),
]


@pytest.mark.parametrize(
    ("starter", "program", "given", "output", "verdict", "why"), CALLS, ids=lambda v: None
)
def test_a_called_function_returns_plain_values(
    rewarder: Rewarder,
    starter: str,
    program: str,
    given: str,
    output: str,
    verdict: Verdict,
    why: str,
) -> None:
    tests = [{"input": given, "output": output}]
    found = grade(rewarder, program, tests=tests, starter=starter)
    assert found.verdict == verdict, (why, found.detail)


def test_values_that_are_not_text_work_too(rewarder: Rewarder) -> None:
    tests = [{"input": [[1, 2], "x"], "output": {"x": 3}}]
    found = grade(
        rewarder, "def f(a, k):\n    return {k: sum(a)}", tests=tests, starter="def f(a, k):"
    )
    assert found.verdict == Verdict.CORRECT


@pytest.mark.parametrize(
    ("actual", "expected", "same", "why"),
    [
        ("1\n2\n", "1\n2", True, "a missing newline at the end"),
        ("1 \n2\n\n\n", "1\n2", True, "blanks at line ends, blank lines at the end"),
        ("1  2", "1 2", True, "tokens"),
        ("2.50", "2.5", True, "decimals are numbers"),
        ("3.0", "3", True, "one of the two with a point"),
        ("007", "7", False, "integers are text"),
        ("0.1000000001", "0.1", False, "no tolerance"),
        ("Yes", "YES", False, "case matters"),
        (" *\n***", " *\n***", True, "a picture"),
        ("*\n***", " *\n***", False, "leading spaces of a picture matter"),
        ("a b", "a  b", False, "double spaces that are asked for"),
        ("", "", True, "nothing expected"),
        ("nan", "NaN", False, "no number"),
    ],
)
def test_outputs_compare_as_judges_do(actual: str, expected: str, same: bool, why: str) -> None:
    assert same_output(actual, expected) is same, why


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        (b"1", "1.0", True),
        (b"true", "1", False),
        (b'"1"', "1", False),
        (b"", "1", False),
        (b"[1, [2]]", "[1, [2]]", True),
        (b'{"a": 1}', '{"a": 1}', True),
        (b'"abc"', '"abc"', True),
        (b"NaN", "NaN", False),
        (b"null", "null", True),
    ],
)
def test_values_compare_by_plain_type(actual: bytes, expected: str, same: bool) -> None:
    assert same_value(actual, expected) is same


@pytest.mark.parametrize(
    ("starter", "entry"),
    [
        ("class Solution:\n    def f(self, a):", "Solution.f"),
        ("def f(a):", "f"),
        (
            "class Node:\n    def __init__(self):\n        pass\n"
            "class Solution:\n    def go(self):",
            "Solution.go",
        ),
    ],
)
def test_the_last_function_of_a_header_is_called(starter: str, entry: str) -> None:
    assert entry_point(starter) == entry


def test_every_test_is_run_where_all_are_asked_for() -> None:
    rewarder = make_rewarder("code", Verifier(workers=1, code=LIMITS), all_tests=True)
    found = grade(rewarder, "print(30)")
    rewarder.close()
    assert found.passed == (False, True)
    assert found.verdict == Verdict.WRONG


def test_the_seconds_of_all_tests_together_are_limited(rewarder: Rewarder) -> None:
    slow = (
        "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.8: pass\nprint(1)"
    )
    tests = [{"input": "", "output": "1"}] * 6
    found = grade(rewarder, slow, tests=tests)
    assert found.verdict == Verdict.TIMEOUT
    assert "together" in found.detail or "0." in found.detail


def test_a_randomised_program_has_one_verdict() -> None:
    program = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    details = []
    for _ in range(3):
        rewarder = make_rewarder("code", Verifier(workers=1, code=LIMITS))
        raising = program.replace("print(", "raise Exception(")
        details.append(grade(rewarder, raising).detail)
        rewarder.close()
    assert len(set(details)) == 1


def test_a_test_costs_a_few_milliseconds(rewarder: Rewarder) -> None:
    grade(rewarder, IDIOMS["input()"])
    tests = [SUM[0]] * 100
    started = time.process_time(), time.monotonic()
    grade(rewarder, IDIOMS["open(0)"], tests=tests)
    per_test = (time.monotonic() - started[1]) / 100
    assert per_test < 0.05, "an interpreter per test would take 30 ms or more on an idle machine"


def test_nothing_is_left_behind(rewarder: Rewarder) -> None:
    grade(rewarder, "open('left-behind', 'w')")
    assert not list(Path("/tmp").glob("acereason-zygote-*"))
    assert not Path("left-behind").exists()
