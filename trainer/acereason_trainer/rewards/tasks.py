"""What an answer leaves to be worked out: no answer, unless the reference leaves it, too."""

import re

from acereason_trainer.rewards.answer import Answer
from acereason_trainer.rewards.latex import COMMANDS, nodes

_TASKS = {"floor", "ceil", "min", "max", "gcd", "lcm"}
"""A task in the place of its answer: letting a solver work it out would reward restating it.

So is any command that only the larger parser knows (an integral, a sum, a limit), unless the
reference has it too. Sums, products, powers and factorials of plain numbers are not among them:
they are how answers to problems of counting are written, and no rule tells those from a task."""
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_NO_TASKS = COMMANDS - _TASKS - {"lfloor", "lceil"} | {"to", "rightarrow", "ldots", "cdots", "dots"}


def tasks(answer: Answer) -> set[str]:
    """Names of what is left to be worked out."""
    found = set().union(*map(tasks, answer.parts))
    for tree in (answer.tree, answer.formula):
        for node in nodes(tree) if tree else ():
            if node[0] == "latex":
                found |= set(_COMMAND.findall(node[1])) - _NO_TASKS
            elif node[0] in _TASKS:
                found.add(node[0])
    return found


def is_known(answer: Answer) -> bool:
    """Whether it is a value, or several, without unknowns."""
    if answer.kind in ("text", "equation", "relation"):
        return False
    if answer.kind != "one":
        return all(map(is_known, answer.parts))
    tree = answer.tree
    return tree is not None and all(node[0] not in ("symbol", "latex") for node in nodes(tree))
