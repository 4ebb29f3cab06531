"""What the kernel holds a program to: memory, output, open files, CPU time."""

import functools
import os
import resource
import threading
import typing

THREAD_STACK = 16 << 20
"""Bytes that a program's threads get unless it asks for more."""
_MAX_OPEN_FILES = 64
_MAX_PROCESSES = 1024
_UNTOUCHED = THREAD_STACK
"""Address space beyond the memory limit: a thread's stack is asked for and hardly used. What a
program touches is measured when it has ended."""
_MOST_UNTOUCHED = 1 << 30
"""The same for a program that asks for deeper stacks, as contest programs do to recurse."""
_NEXT_TO_NOTHING = "str(sum([number for number in range(1000)]))"

_stack_size = threading.stack_size


def impose(request: dict[str, typing.Any], *, may_fork: bool) -> None:
    """Limit this process as a request says, from here on."""
    cpu, output = 2 + 2 * int(request["cpuSeconds"]), request["outputBytes"]
    address_space = bare()[0] + request["memoryBytes"]
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


def roomy_stack_size(size: int = 0, /) -> int:
    """`threading.stack_size`; there is room in the address space for what it reserves."""
    before = _stack_size(size)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if size > THREAD_STACK and soft != hard:
        resource.setrlimit(resource.RLIMIT_AS, (min(soft + size - THREAD_STACK, hard), hard))
    return before


@functools.cache
def bare() -> tuple[int, int]:
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
