r"""math-verify's own test pairs, in the form in which RL meets them.

Its tests compare free text with free text. What RL compares is a reference (an answer alone) and a
response with a box. So of the gold side the answer is taken: what stands in its boxes, or else
between its math delimiters. A prediction with a box stays as it is; in one without, what is no part
of a sentence is put into a box: all of it, or the formula that it ends with. Sentences that leave
nothing to box stay as they are. Both checkers get the result.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rewards_pairs import Pair

ENDING = 80
"""Characters of a response that tell it from others of the same reference."""
_THINK_END = "</think>"
_ARGUMENTS = re.compile(r"gold, ?pred, ?(expected|result)")
_FORMULA = re.compile(
    r"\$\$(?P<dollars>.+?)\$\$|(?<!\\)\$(?P<dollar>(?:\\.|[^$\\])+)(?<!\\)\$"
    r"|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]",
    re.S,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_WORDS_OF_AN_ANSWER, _WORDS_AFTER = 2, 7


def pairs_of_math_verify(sdist: Path) -> list[Pair]:
    """Every different pair of the (gold, pred, expected) tables below `sdist`/tests."""
    found: dict[tuple[str, str], Pair] = {}
    for file in sorted((sdist / "tests").glob("test_*.py")):
        for gold, prediction in _table_rows(ast.parse(file.read_text())):
            reference, response = reference_of(gold), response_of(prediction)
            end = response.rpartition(_THINK_END)[2].strip()[-ENDING:]
            pair = Pair(reference, response, None, file.stem, end, "exact")
            found.setdefault((reference, response), pair)
    return list(found.values())


def _table_rows(module: ast.Module) -> Iterator[tuple[str, str]]:
    """(gold, pred) of each parametrized table; rows that are not written as literals are left."""
    for node in ast.walk(module):
        if not (isinstance(node, ast.Call) and len(node.args) == 2):
            continue
        names, rows = node.args
        if not (isinstance(names, ast.Constant) and _ARGUMENTS.match(str(names.value))):
            # strict=False and its like are settings that no trainer uses
            continue
        for row in rows.elts if isinstance(rows, ast.List) else []:
            cells = [c.value for c in getattr(row, "elts", []) if isinstance(c, ast.Constant)]
            if len(cells) >= 3:
                yield str(cells[0]), str(cells[1])


def reference_of(gold: str) -> str:
    """The answer alone; several answers as a list."""
    answers = [_balanced(gold[b.end() :]) for b in _BOX.finditer(gold)]
    if not answers:
        answers = [_content(formula) for formula in _FORMULA.finditer(gold)] or [gold]
        if len(_WORD.findall(_FORMULA.sub("", gold))) > _WORDS_OF_AN_ANSWER:
            answers = answers[-1:]
    return ", ".join(dict.fromkeys(a.strip() for a in answers))


def response_of(prediction: str) -> str:
    """A response with a box, where the prediction has something to put into one."""
    text = prediction.rpartition(_THINK_END)[2] or prediction
    return f"<think>\nLet me see.\n{_THINK_END}\n\n{_boxed(text)}"


def _boxed(text: str) -> str:
    if _BOX.search(text):
        return text
    formulas = list(_FORMULA.finditer(text))
    if formulas and _is_the_last_word(text[formulas[-1].end() :]):
        last = formulas[-1]
        return f"{text[: last.start()]}$\\boxed{{{_content(last)}}}${text[last.end() :]}"
    if formulas or len(_WORD.findall(text)) > _WORDS_OF_AN_ANSWER:
        return text
    return f"$\\boxed{{{text}}}$"


def _is_the_last_word(rest: str) -> bool:
    """Whether what follows a formula is an assurance (`I hope it is correct`), and no answer."""
    return len(_WORD.findall(rest)) <= _WORDS_AFTER and not any(c.isdigit() for c in rest)


def _content(formula: re.Match[str]) -> str:
    return next(group for group in formula.groups() if group is not None).strip()


def _balanced(text: str) -> str:
    """Text up to the brace that closes what was opened before it."""
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:position]
    return text
