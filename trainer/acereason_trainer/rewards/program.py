"""The program in a response: its last python block, or for a call all that its blocks define.

For a problem that is read from stdin, only the last fenced ```python block after the reasoning
counts: a response that offers several programs must not be graded by the best of them.

For a problem that gives a function header, models also spread the answer over blocks: imports
first, then the function, then a block that shows how to call it. So, as in the papers' toolkit,
blocks are joined: the last one that defines the function is taken whole; of those before it the
definitions, which it overrides; none after it. A block that goes on where the header ends is put
after the header. Nothing is parsed here: that is left to the sandbox (zygote.py).
"""

import re
from dataclasses import dataclass

from acereason_trainer.rewards.extract import after_thinking

# Possessive, so that no line takes more than linear time.
_FENCE = re.compile(r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.M)
_PYTHON = ("python", "python3", "py")
_DEF = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(\w+)[ \t]*\(", re.M)
_CLASS = re.compile(r"^class[ \t]+(\w+)", re.M)


@dataclass(frozen=True)
class Program:
    """What a response wants to have run."""

    source: str
    before: tuple[str, ...] = ()
    """Blocks whose definitions it may use."""


def python_program(response: str, starter: str | None = None) -> Program | None:
    """The program after the reasoning; None where there is none or its block is never closed.

    `starter`: the function header that the problem gives.
    """
    text = after_thinking(response)
    if text is None:
        return None
    blocks, closed = _python_blocks(text)
    if not blocks or not closed:
        return None
    if starter is None:
        return Program(blocks[-1])
    return _joined(blocks, starter)


def entry_point(starter: object) -> str:
    """`Class.method` or `function` named by a header; the last function is the asked one.

    Raises ValueError where the header defines no function.
    """
    if not isinstance(starter, str):
        raise ValueError("the starter is no text; give the function's header")
    functions = [m for m in _DEF.finditer(starter) if m[2] != "__init__"]
    if not functions:
        raise ValueError(f"the starter {starter[:60]!r} defines no function; give its header")
    last = functions[-1]
    classes = [m[1] for m in _CLASS.finditer(starter, 0, last.start())]
    return f"{classes[-1]}.{last[2]}" if last[1] and classes else last[2]


def _python_blocks(text: str) -> tuple[list[str], bool]:
    """All python blocks, and whether the last one is closed. Blocks in lists lose their indent."""
    blocks: list[str] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif not fence[3] and fence[2].startswith(opening[2]):
            if opening[3].lower() in _PYTHON:
                blocks.append(_unindented(text[opening.end() + 1 : fence.start()], opening[1]))
            opening = None
    left_open = opening is not None and opening[3].lower() in _PYTHON
    return blocks, not left_open


def _unindented(code: str, indent: str) -> str:
    if not indent:
        return code
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))


def _joined(blocks: list[str], starter: str) -> Program:
    name = entry_point(starter).rpartition(".")[2]
    defining = [n for n, block in enumerate(blocks) if _defines(block, name)]
    if defining:
        main = defining[-1]
        return Program(blocks[main], tuple(blocks[:main]))
    body = blocks[-1]
    goes_on = next((line for line in body.splitlines() if line.strip()), "")[:1] in (" ", "\t")
    return Program(f"{starter.rstrip()}\n{body}" if goes_on else body)


def _defines(block: str, name: str) -> bool:
    return any(m[2] == name for m in _DEF.finditer(block))
