"""Makes a bare interpreter one that contest programs know, before it is forked."""

import _sitebuiltins
import _thread

# What contest programs import: loaded once here, shared by every fork.
import bisect
import builtins
import collections
import copy
import datetime
import functools
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
import statistics
import string
import sys
import threading
import types
import typing

from acereason_trainer.rewards.sandboxed.limits import THREAD_STACK, roomy_stack_size

PREPARED_DEPTH = 50_000
"""Recursion limit where names are `prepared`; the main stack has room for as many calls through C.
"""
_MAX_INT_DIGITS = 50_000  # LiveCodeBench's; the interpreter's 4,300 fails right programs

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


class Offered:
    """Finds the packages that are offered, in a folder whose other packages cannot be read."""

    def __init__(self, packages: dict[str, str]) -> None:
        """`packages`: directories by their names."""
        self._packages = packages

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As the interpreter asks for it."""
        if name not in self._packages:
            return None
        directory = self._packages[name]
        return importlib.util.spec_from_file_location(
            name,
            os.path.join(directory, "__init__.py"),
            submodule_search_locations=[directory],
        )

    def import_for(self, *sources: str) -> bool:
        """Import the offered packages that these name, before they are forked: each fork would
        need a quarter of a second for numpy, on each test's clock. Whether something new came."""
        new = False
        for name in self._packages.keys() - sys.modules.keys():
            # A plain look, in linear time: no limit holds here, and one import too many harms
            # nobody.
            if not any("import" in source and name in source for source in sources):
                continue
            try:
                package = importlib.import_module(name)
            except Exception:
                continue  # the program will see it itself
            if name == "numpy":
                # It is seeded by the system, and a randomised program must have one verdict.
                package.random.seed(0)
            new = True
        return new


def make_like_a_terminal_start(offered: Offered) -> None:
    """What `python solution.py` has and a bare interpreter does not."""
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    sys.argv = ["solution.py"]
    threading.stack_size(THREAD_STACK)
    threading.stack_size = _thread.stack_size = roomy_stack_size
    sys.set_int_max_str_digits(_MAX_INT_DIGITS)
    # Not from the C library's view: it is what keeps numpy's to one thread.
    os.environ._data.clear()  # type: ignore[attr-defined]
    sys.meta_path.append(offered)


def open_streams() -> None:
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
def prepared() -> types.ModuleType:
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
