"""What a machine cannot carry is left out with the reason, and holds no other test up.

Code that finds it out raises `LeftOut`; tests/conftest.py skips the test that met it, which under
CI=true is a failure.
"""

import functools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_TAIL = 4000
"""Characters of a failed command's output that are shown: what went wrong stands at the end."""
_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")


class LeftOut(Exception):
    """This machine cannot do what a test needs; the text says what is left out, and why."""


@contextmanager
def left_out_where_a_command_fails(what: str) -> Iterator[None]:
    """Raises LeftOut where a command of the block does (CalledProcessError), with the end of the
    output that was captured.

    what: what is left out then, as the beginning of a sentence.
    """
    try:
        yield
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))[:200]
        said = ((error.stdout or "") + (error.stderr or ""))[-_TAIL:]
        why = f"{what}: `{command}` ended with {error.returncode}:\n{said}"
        raise LeftOut(why) from error


def tried_once(make: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """`make`, called once for the same arguments: a second try would take minutes again, and end as
    the first one did."""

    @functools.cache
    def tried(*given: _Given.args, **named: _Given.kwargs) -> _Made | LeftOut:
        try:
            return make(*given, **named)
        except LeftOut as why:
            return why

    @functools.wraps(make)
    def made(*given: _Given.args, **named: _Given.kwargs) -> _Made:
        result = tried(*given, **named)  # type: ignore[arg-type]  # given can be hashed
        if isinstance(result, LeftOut):
            raise LeftOut(*result.args)
        return result

    return made
