"""Where in a response the answer stands.

Only the text after the last `</think>` counts: boxes and code blocks inside the reasoning are
drafts. Of several answers the last one counts, so that hedging with an early guess wins nothing.
"""

import re

THINK_END = "</think>"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TOOLKIT_BRACE = re.compile(r"(\\boxed\s*+\{)|[{}]")
_TOOLKIT_DEPTH = 2
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_DISPLAYED = re.compile(r"\\\[")
_STATED = re.compile(r"is\s*+:?\s*+\\\(")


def after_thinking(response: str) -> str | None:
    """What follows the last `</think>`; None if the reasoning never ended."""
    _, tag, tail = response.rpartition(THINK_END)
    return tail if tag else None


def with_all_as_answer(response: str) -> str:
    """The response of a model that does not think, or did not: without a tag all of it counts."""
    return response if THINK_END in response else THINK_END + response


def boxed_answer(response: str) -> str | None:
    r"""Content of the last balanced `\boxed{}` or `\fbox{}` after the reasoning, stripped.

    A box inside a box: the inner one. None where there is no box or the last one is never closed:
    a cut-off answer must not fall back to an earlier guess.
    """
    text = after_thinking(response)
    if text is None:
        return None
    boxes = list(_BOX.finditer(text))
    return _balanced(text, boxes[-1].end()) if boxes else None


def toolkit_answer(response: str) -> str | None:
    r"""As the papers' evaluation toolkit: the last box (of braces two deep); without one the last
    bold text, display formula, or "is \( \)". None where there is none of them."""
    text = response.rpartition(THINK_END)[2]
    found = _shallow_box(text)
    if found is None and (bold := _BOLD.findall(text)):
        found = str(bold[-1])
    if found is None:
        found = _last_between(text, _DISPLAYED, "\\]")
    if found is None:
        found = _last_between(text, _STATED, "\\)")
    return None if found is None else found.strip()


def _shallow_box(text: str) -> str | None:
    """Content of the last box that is closed, with braces at most two deep in it."""
    found, open_braces = None, []
    for brace in _TOOLKIT_BRACE.finditer(text):
        if brace[0] != "}":
            open_braces.append((brace[1] is not None, brace.end(), 0))
        elif open_braces:
            is_box, start, height = open_braces.pop()
            if is_box and height <= _TOOLKIT_DEPTH:
                found = text[start : brace.start()]
            if open_braces:
                around = open_braces[-1]
                open_braces[-1] = (around[0], around[1], max(around[2], height + 1))
    return found


def _last_between(text: str, opening: re.Pattern[str], closing: str) -> str | None:
    end = text.rfind(closing)
    starts = [match.end() for match in opening.finditer(text, 0, max(end, 0))]
    return text[starts[-1] : text.find(closing, starts[-1])] if starts else None


def _balanced(text: str, start: int) -> str | None:
    """Text from `start` to the brace that closes the group opened just before it."""
    depth = 1
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[start:position].strip()
        position += 1
    return None
