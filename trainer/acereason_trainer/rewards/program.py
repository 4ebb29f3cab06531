"""The program in a response: its last python block, or for a call all that its blocks define.

For a problem that is read from stdin, only the last fenced ```python block after the reasoning
counts: a response that offers several programs must not be graded by the best of them.

For a problem that asks for a function, models also spread the answer over blocks: imports
first, then the function, then a block that shows how to call it. So, as in the papers' toolkit,
blocks are joined: the last one that defines the function is taken whole; of those before it the
definitions, which it overrides; none after it. A block that goes on where the header ends is put
after the header. Nothing is parsed here: that is left to the sandbox (sandboxed/execution.py).

Fences are Markdown's (CommonMark 0.31, 4.5), so one that is indented by four or more does not close
a block: it stands in a docstring. Beyond Markdown a block may begin at the end of a line of prose;
what only looks like such a block is none, because a fence of its own line comes before its end. And
one that a tag follows (`</answer>`, a token that ends the turn) closes, and never opens: models end
their answers so.
"""

import re
from dataclasses import dataclass

from acereason_trainer.rewards.extract import after_thinking

# Possessive, so that no line takes more than linear time.
_FENCES = re.compile(
    r"^([ \t]*+)(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$"
    r"|(?<!`)(`{3,}+)[ \t]*+(py(?:thon)?[\d.]*+)[ \t\r]*+$",
    re.M | re.I,
)
_ITEM = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?")
_MOST_INDENT = 3
"""Columns by which a closing fence may be indented beyond the opening one."""
_PYTHON = re.compile(r"py(?:thon)?[\d.]*+", re.I)
_DEF = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(\w+)[ \t]*\(", re.M)
_CLASS = re.compile(r"^class[ \t]+(\w+)", re.M)


@dataclass(frozen=True)
class Program:
    """What a response wants to have run."""

    source: str
    before: tuple[str, ...] = ()
    """Blocks whose definitions it may use."""


def python_program(
    response: str, starter: str | None = None, calls: tuple[str, ...] = ()
) -> Program | None:
    """The program after the reasoning; None where there is none or its block is never closed.

    `starter`: the function header that the problem gives. `calls`: the functions that its tests
    call, as `entry_point` names them; they count where there is no header.
    """
    text = after_thinking(response)
    if text is None:
        return None
    blocks, closed = _python_blocks(text)
    if not blocks or not closed:
        return None
    if starter is not None:
        calls = (entry_point(starter),)
    return _joined(blocks, calls, starter or "") if calls else Program(blocks[-1])


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


@dataclass(frozen=True)
class _Fence:
    fence: str
    language: str
    indent: str
    end: int
    own_line: bool

    @property
    def python(self) -> bool:
        return _PYTHON.fullmatch(self.language) is not None

    @property
    def tagged(self) -> bool:
        return self.language.startswith("<")


def _python_blocks(text: str) -> tuple[list[str], bool]:
    """All python blocks, and whether the last one is closed. Blocks in lists lose their indent."""
    blocks: list[str] = []
    opening: _Fence | None = None
    for fence in _FENCES.finditer(text):
        found = _fence(text, fence)
        if opening is None or (not opening.own_line and found.own_line and found.python):
            opening = None if found.tagged else found
        elif found.own_line and _closes(found, opening):
            if opening.python:
                blocks.append(_unindented(text[opening.end + 1 : fence.start()], opening.indent))
            opening = None
    left_open = opening is not None and opening.python and opening.own_line
    return blocks, not left_open


def _fence(text: str, fence: re.Match[str]) -> _Fence:
    if fence[4] is None:
        return _Fence(fence[2], fence[3], fence[1], fence.end(), own_line=True)
    line = text.rfind("\n", 0, fence.start()) + 1
    item = _ITEM.match(text, line, fence.start())
    # Prose before it has no width; the mark of a list item has.
    width = fence.start() - line if item and item.end() == fence.start() else 0
    return _Fence(fence[4], fence[5], " " * width, fence.end(), own_line=False)


def _closes(found: _Fence, opening: _Fence) -> bool:
    deeper = len(found.indent.expandtabs(4)) - len(opening.indent.expandtabs(4))
    bare = not found.language or found.tagged
    return bare and found.fence.startswith(opening.fence) and deeper <= _MOST_INDENT


def _unindented(code: str, indent: str) -> str:
    if not indent:
        return code
    return "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))


def _joined(blocks: list[str], calls: tuple[str, ...], starter: str) -> Program:
    names = {call.rpartition(".")[2] for call in calls}
    defining = [n for n, block in enumerate(blocks) if _defines(block, names)]
    if defining:
        main = defining[-1]
        return Program(blocks[main], tuple(blocks[:main]))
    body = blocks[-1]
    goes_on = next((line for line in body.splitlines() if line.strip()), "")[:1] in (" ", "\t")
    return Program(f"{starter.rstrip()}\n{body}" if starter and goes_on else body)


def _defines(block: str, names: set[str]) -> bool:
    return any(m[2] in names for m in _DEF.finditer(block))
