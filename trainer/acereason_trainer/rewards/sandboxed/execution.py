"""Runs a program to its end, as the interpreter would."""

import ast
import contextlib
import gc
import json
import os
import sys
import threading
import types
import typing

_RESULT_FD = 3
_FILE = "/solution.py"
_NO_MEMORY = b"MemoryError\n"
_DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


def execute(module: types.ModuleType, source: str, before: list[str], entry: str | None) -> int:
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
