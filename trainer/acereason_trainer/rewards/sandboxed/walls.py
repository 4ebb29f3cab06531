"""What a model-written program may ask of the kernel: next to nothing.

Two walls that need no privilege. A seccomp filter allows the system calls that a Python program
needs to compute, read its input and write its output, and refuses every other one: no sockets, no
processes, no signals to anybody else, no change of files' owners or modes. Landlock refuses every
path but the interpreter's libraries (read only). Neither can be taken down again.

The kernel looks through a new filter once for every system call there is, which takes longer than a
fork. So the filter is in two halves, of which the stricter answer counts: the zygote puts up the
long one for itself and all its forks, and each fork a short one that refuses what only the zygote
may do.
"""

import ctypes
import errno
import functools
import os
import platform
import resource
import signal
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_PR_SET_DUMPABLE = 4
_CAPABILITY_VERSION = 0x20080522

# System calls that are allowed, with their numbers on x86_64 and aarch64 (None: does not exist).
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "ftruncate": (77, 46),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "open": (2, None),
    "openat": (257, 56),
    "close": (3, 57),
    "close_range": (436, 436),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "umask": (95, 166),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "socketpair": (53, 199),
    "recvfrom": (45, 207),
    "shutdown": (48, 210),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "mincore": (27, 232),
    "membarrier": (324, 283),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "rseq": (334, 293),
    "set_tid_address": (218, 96),
    "arch_prctl": (158, None),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "alarm": (37, None),
    "pause": (34, None),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "restart_syscall": (219, 128),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrlimit": (97, 163),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getpgid": (121, 155),
    "getpgrp": (111, None),
    "getsid": (124, 156),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# Calls that are allowed for some values of an argument: ((x86_64, aarch64), index of the argument,
# values). What is left out of fcntl and ioctl can name a process that gets signals (F_SETOWN,
# F_SETSIG, FIOSETOWN): any process of the same user could be killed that way.
_SELF, _NULL = 0xFFFFFFFF, 0xFFFFFFFE
_Guarded = dict[str, tuple[tuple[int, int], int, tuple[int, ...]]]
_ALLOWED_FOR: _Guarded = {
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 1030)),  # F_DUPFD ... F_SETFL, F_DUPFD_CLOEXEC
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    "sendto": ((44, 206), 4, (_NULL,)),  # no address: to the other end of a pair
}
# (Index, value) of an argument that is refused; with a third, only where that argument is no null.
_Refused = tuple[int, int, int | None]
# What a program may do to itself, and the zygote to its programs; and what of it is refused: by
# SIGKILL, or a limit of CPU time that leads to it, a program would end as the machine's memory
# killer ends one, which is no verdict. To read that limit sets none.
_OF_ITSELF: dict[str, tuple[tuple[int, int], int, tuple[int, ...], _Refused]] = {
    "kill": ((62, 129), 0, (_SELF, 0), (1, signal.SIGKILL, None)),
    "tgkill": ((234, 131), 0, (_SELF,), (2, signal.SIGKILL, None)),
    "prlimit64": ((302, 261), 0, (_SELF, 0), (1, resource.RLIMIT_CPU, 2)),
}
# What the zygote does and a program may not.
_ZYGOTE_ONLY: dict[str, tuple[int, int | None]] = {
    "setsid": (112, 157),
    "fork": (57, None),
    "recvmsg": (47, 212),
    "prctl": (157, 167),
    "landlock_restrict_self": (446, 446),
}
_CLONE = (56, 220)
_CLONE_THREAD = 0x00010000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_LEAST, _JUMP_SET, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_RET_ALLOW = 0x7FFF0000
_RET_KILL = 0x80000000
_RET_ERRNO = 0x00050000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_CONNECT_AND_BIND = 3
_SIGNALS_AND_ABSTRACT_SOCKETS = 3
# Rights that each version of landlock can refuse; a kernel rejects bits it does not know.
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_RIGHTS_NEWEST = (1 << 16) - 1


def filter_for_zygote() -> bytes:
    """The long half of the filter; empty where the machine is unknown.

    Anything that is not allowed fails with ENOSYS, so that the C library falls back as it does on
    an old kernel.
    """
    column = _column()
    if column is None:
        return b""
    allowed = [numbers[column] for numbers in _ALLOWED.values()]
    allowed += [numbers[column] for numbers in _ZYGOTE_ONLY.values()]
    allowed += [numbers[column] for numbers, *_ in _OF_ITSELF.values()] + [_CLONE[column]]
    program = _beginning()
    for numbers, argument, values in _ALLOWED_FOR.values():
        program += _guarded(numbers[column], argument, values)
    return b"".join(program + _search(sorted(n for n in allowed if n is not None)))


def filter_for_program(own_pid: int) -> bytes:
    """The short half, for a process `own_pid`; empty where the machine is unknown."""
    return _program_template().replace(struct.pack("I", _SELF), struct.pack("I", own_pid))


@functools.cache
def _program_template() -> bytes:
    """The short half, with `_SELF` in the places of the process's own number."""
    column = _column()
    if column is None:
        return b""
    program = _beginning()
    for numbers, argument, values, refused in _OF_ITSELF.values():
        program += _guarded(numbers[column], argument, values, refused)
    program += [
        _op(_JUMP_EQUAL, _CLONE[column], 0, 4),
        _op(_LOAD, _ARGUMENTS_AT),
        _op(_JUMP_SET, _CLONE_THREAD, 0, 1),
        _op(_RETURN, _RET_ALLOW),
        _op(_RETURN, _RET_ERRNO | errno.EPERM),
    ]
    for number in (of_both[column] for of_both in _ZYGOTE_ONLY.values()):
        if number is not None:
            program += [_op(_JUMP_EQUAL, number, 0, 1), _op(_RETURN, _RET_ERRNO | errno.ENOSYS)]
    return b"".join([*program, _op(_RETURN, _RET_ALLOW)])


def _column() -> int | None:
    """Of the tables, for this machine."""
    return _ARCHITECTURES.get(platform.machine(), (None, 0))[0]


def _beginning() -> list[bytes]:
    """System calls of another architecture have other numbers: they kill."""
    return [
        _op(_LOAD, _ARCH_AT),
        _op(_JUMP_EQUAL, _ARCHITECTURES[platform.machine()][1], 1, 0),
        _op(_RETURN, _RET_KILL),
        _op(_LOAD, _NUMBER_AT),
    ]


def _search(allowed: list[int]) -> list[bytes]:
    """Binary search among the numbers that are allowed."""
    if len(allowed) == 1:
        return [
            _op(_JUMP_EQUAL, allowed[0], 0, 1),
            _op(_RETURN, _RET_ALLOW),
            _op(_RETURN, _RET_ERRNO | errno.ENOSYS),
        ]
    middle = len(allowed) // 2
    below, above = _search(allowed[:middle]), _search(allowed[middle:])
    if len(below) < 256:  # as far as a conditional jump goes
        return [_op(_JUMP_LEAST, allowed[middle], len(below), 0), *below, *above]
    return [_op(_JUMP_LEAST, allowed[middle], 0, 1), _op(_JUMP, len(below)), *below, *above]


def _guarded(
    number: int, argument: int, values: tuple[int, ...], refused: _Refused | None = None
) -> list[bytes]:
    """Allow a call where the argument is one of the values (as 32 bits; a pointer as 64), but for
    what is refused."""
    low, no = _ARGUMENTS_AT + 8 * argument, _op(_RETURN, _RET_ERRNO | errno.EPERM)
    tests = []
    if refused is not None:
        at, value, pointer = refused
        unless = []
        if pointer is not None:
            half = _ARGUMENTS_AT + 8 * pointer
            unless = [
                _op(_LOAD, half),
                _op(_JUMP_EQUAL, 0, 0, 2),
                _op(_LOAD, half + 4),
                _op(_JUMP_EQUAL, 0, 1, 0),
            ]
        tests += [_op(_LOAD, _ARGUMENTS_AT + 8 * at), _op(_JUMP_EQUAL, value, 0, len(unless) + 1)]
        tests += [*unless, no]
    for value in values:
        if value == _NULL:
            tests += [
                _op(_LOAD, low),
                _op(_JUMP_EQUAL, 0, 0, 3),
                _op(_LOAD, low + 4),
                _op(_JUMP_EQUAL, 0, 0, 1),
                _op(_RETURN, _RET_ALLOW),
            ]
        else:
            tests += [
                _op(_LOAD, low),
                _op(_JUMP_EQUAL, value, 0, 1),
                _op(_RETURN, _RET_ALLOW),
            ]
    return [_op(_JUMP_EQUAL, number, 0, len(tests) + 1), *tests, no]


def forbid_new_privileges() -> bool:
    """No set-user-id program raises this process's rights; needed by both walls."""
    return bool(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def drop_capabilities() -> bool:
    """Root becomes an ordinary owner of root's files; for others nothing changes."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    return bool(_LIBC.capset(header, struct.pack("6I", *[0] * 6)) == 0)


def set_inspectable(allowed: int) -> bool:
    """Whether other processes of the same user may read this one's memory and descriptors."""
    return bool(_LIBC.prctl(_PR_SET_DUMPABLE, allowed, 0, 0, 0) == 0)


def restrict_system_calls(program: bytes) -> bool:
    """Put up the filter for this process; False where the kernel refuses."""
    if not program:
        return False
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return bool(_LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def read_only_ruleset(directories: list[str]) -> int | None:
    """A landlock ruleset (descriptor) that lets nothing through but reading these directories and
    /dev/null; where the kernel can, it also refuses TCP and signals to others.

    None where the kernel has no landlock. Directories that do not exist are left out.
    """
    abi = _LIBC.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return None
    rights = _RIGHTS_BY_ABI.get(abi, _RIGHTS_NEWEST)
    attributes = struct.pack("Q", rights)
    if abi >= 4:
        attributes += struct.pack("Q", _CONNECT_AND_BIND)
    if abi >= 6:
        attributes += struct.pack("Q", _SIGNALS_AND_ABSTRACT_SOCKETS)
    ruleset = int(_LIBC.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0))
    if ruleset < 0:
        return None
    granted = dict.fromkeys(directories, _READ_FILE | _READ_DIR)
    for path, right in {**granted, os.devnull: _READ_FILE | _WRITE_FILE}.items():
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", right, descriptor)
        refused = _LIBC.syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0)
        os.close(descriptor)
        if refused:
            os.close(ruleset)
            return None
    return ruleset


def restrict_paths(ruleset: int) -> bool:
    """Put up a landlock ruleset for this process; False where the kernel refuses."""
    return bool(_LIBC.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)
