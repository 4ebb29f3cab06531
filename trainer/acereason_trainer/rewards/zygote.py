"""A small interpreter that forks once for each test of a model-written program.

Forking costs about 2 ms where starting an interpreter costs 30. The zygote knows nothing worth
stealing: it is told the program and the limits, and handed descriptors for the input and for the
output; the expected output stays with the process that compares (sandbox.py).

Started as `python -S -s -P zygote.py SOCKET_FD PACKAGES`, so the standard library and the packages
named there (JSON: name, directory) are all there is. Each request is one JSON line {source, before,
entry, prepared, cpuSeconds, idleSeconds, wallSeconds, memoryBytes, outputBytes} that carries three
or four descriptors (stdin, stdout, stderr; the result of a call); each answer is one JSON line, see
`_run`.
"""

# ruff: noqa: PTH100, PTH102, PTH106, PTH118, PTH120, PTH123, PTH208, SIM115, BLE001 - no pathlib in a sandbox; it
# stands in for the interpreter, which handles whatever a program raises

import _thread
import array
import ast

# What contest programs import: loaded once here, shared by every fork.
import bisect
import builtins
import collections
import contextlib
import copy
import datetime
import functools
import gc
import heapq
import importlib
import importlib.machinery
import importlib.util
import io
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import signal
import socket
import statistics
import string
import sys
import threading
import time
import types
import typing

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [_HERE, os.path.dirname(_HERE)]
import _sitebuiltins  # noqa: E402

import processes  # type: ignore[import-not-found]  # noqa: E402
import walls  # type: ignore[import-not-found]  # noqa: E402

del sys.path[-2:]

_RESULT_FD = 3
_RULESET_FD, _STARTED_FD = 100, 101
"""Above the numbers that a program's own descriptors get."""
_MAX_OPEN_FILES = 64
_MAX_THREADS = 512
_MAX_PROCESSES = 1024
_LOOK_EVERY = 0.1
_AWAKE = ("R", "D")
_THREAD_STACK = 16 << 20
_UNTOUCHED = _THREAD_STACK
"""Address space beyond the memory limit: a thread's stack is asked for and hardly used. What a
program touches is measured when it has ended."""
_MOST_UNTOUCHED = 1 << 30
"""The same for a program that asks for deeper stacks, as contest programs do to recurse."""
_NEXT_TO_NOTHING = "str(sum([number for number in range(1000)]))"
_NO_MEMORY = b"MemoryError\n"
_FILE = "/solution.py"
_MAX_INT_DIGITS = 50_000  # LiveCodeBench's; the interpreter's 4,300 fails right programs
_PACKAGES: dict[str, str] = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
"""What contest sites offer beyond the standard library; imported when the first program wants it.
"""
_LIBRARIES = [os.path.dirname(os.__file__), "/lib", "/lib64", "/usr/lib", "/usr/lib64"]
for _directory in _PACKAGES.values():
    _LIBRARIES += [_directory, f"{_directory}.libs"]

_DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)

# What the site that asks for functions imports for its solvers, as LiveCodeBench's checker has it:
# the names in these modules, a later one's for an earlier one's, and then the modules themselves.
_NAMES_OF = (
    string,
    re,
    datetime,
    collections,
    heapq,
    bisect,
    copy,
    math,
    random,
    statistics,
    itertools,
    functools,
    operator,
    io,
    sys,
    json,
    builtins,
    typing,
)
_PREPARED_DEPTH = 50_000
"""Recursion limit there; the main stack has room for as many calls through C."""


def main() -> None:
    """Serve requests until the other end closes."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    walls.drop_capabilities()
    walls.forbid_new_privileges()
    processes.die_with_parent()
    processes.adopt_orphans()
    walls.set_inspectable(0)
    _enter_a_directory_that_is_gone()
    _make_like_a_terminal_start()
    ruleset = walls.read_only_ruleset(_LIBRARIES)
    if ruleset is not None:
        os.dup2(ruleset, _RULESET_FD)
        os.close(ruleset)
        ruleset = _RULESET_FD
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _open_streams()
    # What is made once here need not be made in every fork.
    walls.filter_for_program(os.getpid()), _prepared(), _bare()
    standing = _walls_that_stand(ruleset)
    if standing["seccomp"] and not walls.restrict_system_calls(walls.filter_for_zygote()):
        raise SystemExit("the kernel took half of the system call filter, and not the other half")
    _answer(channel, {"walls": standing})
    gc.freeze()
    while request := _receive(channel):
        line, descriptors = request
        try:
            asked = json.loads(line)
            _import_for(asked["source"], *asked["before"])
            answer = _run(asked, descriptors, ruleset, standing)
        except OSError as e:
            answer = {"failed": str(e)}
        for descriptor in descriptors:
            os.close(descriptor)
        _answer(channel, answer)


def _enter_a_directory_that_is_gone() -> None:
    """Nothing can be created in it, and nothing is left behind."""
    directory = os.path.join("/tmp", f"acereason-zygote-{os.getpid()}")
    os.mkdir(directory, 0o700)
    os.chdir(directory)
    os.rmdir(directory)


def _make_like_a_terminal_start() -> None:
    """What `python solution.py` has and a bare interpreter does not."""
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    sys.argv = ["solution.py"]
    threading.stack_size(_THREAD_STACK)
    threading.stack_size = _thread.stack_size = _roomy_stack_size
    sys.set_int_max_str_digits(_MAX_INT_DIGITS)
    # Not from the C library's view: it is what keeps numpy's to one thread.
    os.environ._data.clear()  # type: ignore[attr-defined]
    sys.meta_path.append(_Offered)


_stack_size = threading.stack_size


def _roomy_stack_size(size: int = 0, /) -> int:
    """`threading.stack_size`; there is room in the address space for what it reserves."""
    before = _stack_size(size)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if size > _THREAD_STACK and soft != hard:
        resource.setrlimit(resource.RLIMIT_AS, (min(soft + size - _THREAD_STACK, hard), hard))
    return before


class _Offered:
    """Finds the packages that are offered, in a folder whose other packages cannot be read."""

    @staticmethod
    def find_spec(
        name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _PACKAGES:
            return None
        directory = _PACKAGES[name]
        return importlib.util.spec_from_file_location(
            name,
            os.path.join(directory, "__init__.py"),
            submodule_search_locations=[directory],
        )


def _import_for(*sources: str) -> None:
    """Import the offered packages that these name, before they are forked: each fork would need a
    quarter of a second for numpy, on each test's clock."""
    for name in _PACKAGES.keys() - sys.modules.keys():
        # A plain look, in linear time: no limit holds here, and one import too many harms nobody.
        if not any("import" in source and name in source for source in sources):
            continue
        try:
            package = importlib.import_module(name)
        except Exception:
            continue  # the program will see it itself
        if name == "numpy":
            # It is seeded by the system, and a randomised program must have one verdict.
            package.random.seed(0)
        _bare.cache_clear()
        _bare()
        gc.freeze()


def _walls_that_stand(ruleset: int | None) -> dict[str, bool]:
    """Try the walls on a fork of this process."""
    pid = os.fork()
    if pid == 0:
        paths, calls = _put_up_walls(ruleset)
        os._exit(2 * paths + calls)
    stands = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"landlock": bool(stands & 2), "seccomp": bool(stands & 1)}


def _put_up_walls(ruleset: int | None) -> tuple[bool, bool]:
    paths = ruleset is not None and walls.restrict_paths(ruleset)
    calls = walls.restrict_system_calls(walls.filter_for_program(os.getpid()))
    return paths, calls


def _receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """One line and the descriptors that came with its first byte; None at the end."""
    descriptors = array.array("i")
    line = bytearray()
    while not line.endswith(b"\n"):
        data, ancillary, _, _ = channel.recvmsg(1 << 20, socket.CMSG_LEN(4 * 4))
        if not data:
            return None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) // 4 * 4])
        line += data
    return bytes(line), list(descriptors)


def _answer(channel: socket.socket, answer: dict[str, object]) -> None:
    channel.sendall(json.dumps(answer).encode() + b"\n")


def _run(
    request: dict[str, typing.Any], fds: list[int], ruleset: int | None, standing: dict[str, bool]
) -> dict[str, object]:
    """One test in one fork: {exit, signal, cpuSeconds, wallSeconds, idleSeconds, late, crowded,
    peakBytes}, or {failed: why}."""
    started_r, started_w = os.pipe()
    os.dup2(started_w, _STARTED_FD)
    os.close(started_w)
    start, zygote = time.monotonic(), os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _be_the_program(request, fds, ruleset, standing, zygote)
        finally:
            os._exit(1)
    os.close(_STARTED_FD)
    ended_by, idle = _wait(
        pid, request["cpuSeconds"], request["idleSeconds"], start + request["wallSeconds"]
    )
    # Not reaped yet, so that nobody else can have its number.
    _kill_session(pid)
    _, status, usage = os.wait4(pid, 0)
    processes.end_children()
    started = os.read(started_r, 1)
    os.close(started_r)
    if not started:
        return {"failed": "the sandbox could not be set up"}
    if ended_by == "starved":
        return {"failed": "the machine had no time for the program"}
    cpu = usage.ru_utime + usage.ru_stime
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if killed and not ended_by and standing["seccomp"] and cpu < request["cpuSeconds"]:
        # The walls keep it from doing so itself.
        return {"failed": "the machine killed the program: was there no memory left?"}
    return {
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "cpuSeconds": cpu,
        "wallSeconds": time.monotonic() - start,
        "idleSeconds": idle,
        "late": ended_by == "late",
        "crowded": ended_by == "crowded",
        "peakBytes": max(0, usage.ru_maxrss * 1024 - _bare()[1]),
    }


def _wait(pid: int, cpu_limit: float, idle_limit: float, deadline: float) -> tuple[str, float]:
    """Wait for the child's end: why it must be ended ("" where it ended by itself), and for how
    many seconds it did nothing. It is not reaped.

    What counts is time asleep. A program that is ready to run but gets no processor is late for
    reasons that are not its own; one that mostly sleeps has only itself to blame.
    """
    idle, used, last, looks, ready = 0.0, 0, time.monotonic(), 0, 0
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return "", idle
        if signal.sigtimedwait({signal.SIGCHLD}, _LOOK_EVERY):
            continue
        before, last = last, time.monotonic()
        awake, ticks, threads = _seen(pid)
        if ticks == used and not awake:
            idle += last - before
        used = ticks
        looks += 1
        ready += awake
        # What clock_getcpuclockid(3) gives. The kernel's own limit counts ticks, which on a busy
        # machine may be a fifth too many.
        if idle >= idle_limit or time.clock_gettime((~pid << 3) | 2) > cpu_limit:
            return "late", idle
        if threads > _MAX_THREADS:
            return "crowded", idle
        if last >= deadline:
            return ("starved" if 2 * ready > looks else "late"), idle


def _seen(pid: int) -> tuple[bool, int, int]:
    """Whether a thread of a process runs or wants to, its ticks of CPU time, number of threads.

    A process whose first thread has left looks like a zombie as long as another one sleeps, so the
    others are asked too.
    """
    state, ticks, threads = _stat(f"/proc/{pid}/stat")
    awake = state in _AWAKE
    if not awake and 1 < threads <= _MAX_THREADS:
        others = f"/proc/{pid}/task"
        for thread in os.listdir(others):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                awake = awake or _stat(f"{others}/{thread}/stat")[0] in _AWAKE
    return awake, ticks, threads


def _stat(path: str) -> tuple[str, int, int]:
    with open(path, encoding="latin-1") as stat:
        words = stat.read().rpartition(")")[2].split()
    return words[0], int(words[11]) + int(words[12]), int(words[17])


def _kill_session(session: int) -> None:
    """End the program, and every process of its session that it left behind."""
    os.kill(session, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it died before it had a session
        os.killpg(session, signal.SIGKILL)


def _be_the_program(
    request: dict[str, typing.Any],
    fds: list[int],
    ruleset: int | None,
    standing: dict[str, bool],
    zygote: int,
) -> None:
    """From here on this fork is the model's program: no way back, no return."""
    os.setsid()
    processes.die_with_parent(zygote)
    for target, descriptor in enumerate(fds):
        os.dup2(descriptor, target)
    _limit(request, may_fork=not standing["seccomp"])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    walls.set_inspectable(1)
    paths, calls = _put_up_walls(ruleset)
    if {"landlock": paths, "seccomp": calls} != standing:
        os._exit(1)
    os.write(_STARTED_FD, b"1")
    os.closerange(len(fds), 1024)
    # The module seeds itself in every fork; a randomised program must have one verdict.
    random.seed(0)
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if request["prepared"]:
        module.__dict__["__builtins__"] = _prepared()
        sys.setrecursionlimit(_PREPARED_DEPTH)
    os._exit(_execute(module, request["source"], request["before"], request["entry"]))


def _limit(request: dict[str, typing.Any], *, may_fork: bool) -> None:
    cpu, output = 2 + 2 * int(request["cpuSeconds"]), request["outputBytes"]
    address_space = _bare()[0] + request["memoryBytes"]
    limits = [
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, address_space + _MOST_UNTOUCHED),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ]
    if may_fork:
        # Counts all processes of the user, so it is set only where nothing better holds them.
        limits.append((resource.RLIMIT_NPROC, _MAX_PROCESSES))
    for what, wanted in limits:
        hard = resource.getrlimit(what)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(what, (limit, limit))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (min(hard, address_space + _UNTOUCHED), hard))


@functools.cache
def _bare() -> tuple[int, int]:
    """Bytes of address space of the bare interpreter, and bytes that a fork of it holds at most
    which does next to nothing.

    This process holds more: pages of files that it touched are a fork's only as that one touches
    them, and numpy's alone are many MiB."""
    with open("/proc/self/statm", "rb") as pages:
        size = int(pages.read().split()[0])
    pid = os.fork()
    if pid == 0:
        exec(_NEXT_TO_NOTHING, {})
        os._exit(0)
    usage = os.wait4(pid, 0)[2]
    return size * resource.getpagesize(), usage.ru_maxrss * 1024


def _open_streams() -> None:
    """Streams as a fresh interpreter makes them for files; forks find other files behind them."""
    for target in (0, 1):
        file = os.memfd_create("nothing")
        os.dup2(file, target)
        os.close(file)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]
        2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1
    )


@functools.cache
def _prepared() -> types.ModuleType:
    """The builtins of a program that need not import what it uses.

    Made once, when the streams are there; each fork has it for its own. To copy the names into the
    program's module, or to take them out of it at its end, would count references in each of them,
    and so copy their pages: 0.7 ms a fork.
    """
    module = types.ModuleType(builtins.__name__)
    names: dict[str, object] = {"__builtins__": builtins}
    for one in _NAMES_OF:
        exec(f"from {one.__name__} import *", names)
    names.update({one.__name__: one for one in _NAMES_OF if one is not builtins})
    del names["__builtins__"]
    module.__dict__.update(builtins.__dict__ | names)
    return module


def _execute(module: types.ModuleType, source: str, before: list[str], entry: str | None) -> int:
    """Run the program as this module, under the name `__main__`; returns its exit status."""
    module.__file__ = _FILE
    sys.modules["__main__"] = module
    arguments: list[object] = [] if entry is None else json.loads(sys.stdin.read())
    if entry is not None:
        module.__name__ = "solution"
    status = 0
    try:
        for block in before:
            _define(block, module)
        exec(compile(source, "solution.py", "exec", dont_inherit=True), module.__dict__)
        if entry is not None:
            _call(module, entry, arguments)
    except SystemExit as e:
        status = _exit_status(e)
    except BaseException as e:
        status = 1
        with contextlib.suppress(MemoryError):
            sys.excepthook(*sys.exc_info())
        if isinstance(e, MemoryError):
            os.write(2, _NO_MEMORY)  # printing the traceback may have had no memory itself
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
        _flush()
        if entry is None:  # of a call, the result counts and no output
            _let_go(module)
            _flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = status or 1
    return status


def _flush() -> None:
    for stream in (getattr(sys, "stdout", None), sys.__stdout__):
        if stream is not None:
            with contextlib.suppress(ValueError):  # it was closed, or its file taken from it
                stream.flush()


def _let_go(module: types.ModuleType) -> None:
    """As the interpreter does at its end: a file that nobody closed writes what it still holds.

    First a program's own streams go, which would be flushed again when their globals are gone.
    """
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    # While all is in use, so that what holds a file comes before it: they are ended in this order.
    gc.collect(1)
    for name in list(module.__dict__):
        if name != "__builtins__":
            module.__dict__[name] = None
    gc.collect()  # of what the program made: all else is frozen


def _define(block: str, module: types.ModuleType) -> None:
    """Run what an earlier block defines, as far as that goes; a draft need not be whole."""
    with contextlib.suppress(Exception):
        for node in ast.parse(block).body:
            if isinstance(node, _DEFINITIONS):
                alone = ast.Module([node], [])
                with contextlib.suppress(Exception):
                    exec(compile(alone, "solution.py", "exec", dont_inherit=True), module.__dict__)


def _call(module: types.ModuleType, entry: str, arguments: list[object]) -> None:
    """Call `function` or `Class.method` and write its result as JSON on the result descriptor.

    As LiveCodeBench does, a function is also looked for in a class `Solution`, and a method outside
    of its class: problems are given in both forms, and models answer in both.
    """
    target = _found(module, entry)
    result = json.dumps(target(*arguments), default=_plain_number).encode()
    while result:
        result = result[os.write(_RESULT_FD, result) :]


def _plain_number(value: typing.Any) -> object:
    """What a number or truth value of numpy stands for."""
    if hasattr(type(value), "item") and not hasattr(type(value), "__len__"):
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _found(module: types.ModuleType, entry: str) -> typing.Any:
    owner, _, name = entry.rpartition(".")
    scope = module.__dict__
    made_of = scope.get(owner or "Solution")
    if isinstance(made_of, type) and hasattr(made_of, name) and (owner or name not in scope):
        return getattr(made_of(), name)
    if name not in scope:
        raise NameError(f"name {entry!r} is not defined")
    return scope[name]


def _exit_status(end: SystemExit) -> int:
    """As the interpreter does: None is 0, a number itself, anything else is printed and 1."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
