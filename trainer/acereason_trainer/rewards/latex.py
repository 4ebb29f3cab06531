r"""Reads the mathematics that stands in a box: a small subset of LaTeX and of plain notation.

    expression := term (("+" | "-") term)*
    term       := factor (("*" | "/" | nothing) factor)*
    factor     := "-" factor | power "!"?
    power      := atom ("^" exponent)? "°"?
    atom       := number | symbol | \frac{}{} | \sqrt[]{} | function atom | ( ) | | |

The result is a tree of tuples. Nothing is evaluated here, and nothing of the text is ever executed;
length, digits and nesting are bounded before anything else looks at it, since one answer such as
10^{10^{10}} or a thousand open brackets must not stop a training run (see `TooLarge`).
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

Node = tuple[Any, ...]
"""("number", Fraction), ("symbol", name), ("constant", name), (operation, Node, ...), or
("latex", text) for what only the larger parser may be able to read (sympy_latex.py)."""

MAX_CHARACTERS = 400
MAX_DIGITS = 400
MAX_DEPTH = 24

_CONSTANTS = {"pi": "pi", "π": "pi", "e": "e", "i": "i", "infty": "oo", "infinity": "oo", "∞": "oo"}
_CIRCULAR = {
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "sinh",
    "cosh",
    "tanh",
}
_OF_ONE = _CIRCULAR | {
    "arcsin",
    "arccos",
    "arctan",
    "arccot",
    "arcsec",
    "arccsc",
    "arcsinh",
    "arccosh",
    "arctanh",
    "ln",
    "lg",
    "log",
    "exp",
    "abs",
    "floor",
    "ceil",
}
_OF_SEVERAL = {"min", "max", "gcd", "lcm"}
FUNCTIONS = _OF_ONE | _OF_SEVERAL
_PLAIN_NAMES = FUNCTIONS | {"sqrt", "pi", "infinity"}
GREEK = {
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
}
LEAVES = {"number", "symbol", "constant", "latex"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)|\\(?P<command>[A-Za-z]+|[|{}])|(?P<word>[A-Za-z]+|[π∞√])"
    r"|(?P<mark>\*\*|[-+*/^_!°()\[\]{}|,=<>']))"
)


def nodes(tree: Node) -> Iterator[Node]:
    """The tree and all below it; no unknowns of what only the larger parser reads."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        if node[0] not in LEAVES:
            left.extend(node[1:])


class Unreadable(ValueError):
    """Not an expression of the subset."""


class TooLarge(Unreadable):
    """Beyond the bounds of what an answer to a problem can be; nobody else may try to read it."""


def parse(text: str) -> Node:
    """The tree of one expression. Raises Unreadable."""
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"longer than {MAX_CHARACTERS} characters")
    parser = _Parser(_tokens(text))
    tree = parser.over(0)
    if parser.position != len(parser.tokens):
        raise Unreadable(f"unexpected {parser.tokens[parser.position][1]!r}")
    return tree


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"unexpected {text[position : position + 8]!r}")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind == "number" and len(value) > MAX_DIGITS:
            raise TooLarge(f"a number of more than {MAX_DIGITS} digits")
        tokens.extend(_pieces(kind, "^" if value == "**" else value))
        position = match.end()
    return tokens


def _pieces(kind: str, value: str) -> list[tuple[str, str]]:
    """`xy` is x times y; `pi`, `sqrt`, `sin` are names."""
    if kind != "word" or len(value) == 1 or value.lower() in _PLAIN_NAMES:
        return [(kind, value)]
    return [("word", letter) for letter in value]


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0
        self._in_bars = 0

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        if token[0] == "end":
            raise Unreadable("it ends too early")
        self.position += 1
        return token

    def _take_if(self, value: str) -> bool:
        if self._peek() == ("mark", value):
            self.position += 1
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._take_if(value):
            raise Unreadable(f"expected {value!r}, found {self._peek()[1]!r}")

    def over(self, depth: int) -> Node:
        r"""What stands in braces: {3 \over 4} is a fraction of all of it."""
        top = self.expression(depth)
        kind, value = self._peek()
        if kind != "command" or value not in _OVER:
            return top
        self._take()
        return (_OVER[value], top, self.expression(depth))

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        left = self._term(depth)
        while self._peek() in (("mark", "+"), ("mark", "-")):
            operation = "add" if self._take()[1] == "+" else "subtract"
            left = (operation, left, self._term(depth))
        return left

    def _term(self, depth: int) -> Node:
        left = self._factor(depth)
        while True:
            kind, value = self._peek()
            if (kind, value) == ("mark", "*") or (kind, value) in _TIMES:
                self._take()
                left = ("multiply", left, self._factor(depth))
            elif (kind, value) in (("mark", "/"), ("command", "div")):
                self._take()
                left = ("divide", left, self._factor(depth))
            elif self._starts_atom():
                left = self._beside(left, depth)
            else:
                return left

    def _beside(self, left: Node, depth: int) -> Node:
        """Two factors without a sign: a product, or a mixed number such as 1\\frac{1}{2}."""
        if self._peek()[0] == "number" and left[0] == "number":
            raise Unreadable("two numbers side by side")
        mixed = left[0] == "number" and left[1].denominator == 1
        fraction = self._peek() == ("command", "frac")
        right = self._power(depth)
        if mixed and fraction and right[0] == "divide" and _is_proper(right):
            return ("add", left, right)
        return ("multiply", left, right)

    def _factor(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        if self._take_if("-"):
            return ("negate", self._signed(depth + 1))
        if self._take_if("+"):
            return self._signed(depth + 1)
        return self._power(depth)

    def _signed(self, depth: int) -> Node:
        """What a sign in front applies to: with a mixed number, all of it."""
        left = self._factor(depth)
        if left[0] == "number" and self._peek() == ("command", "frac"):
            return self._beside(left, depth)
        return left

    def _power(self, depth: int) -> Node:
        base = self._atom(depth)
        while self._take_if("!"):
            base = ("factorial", base)
        if self._take_if("^"):
            base = ("power", base, self._exponent(depth))
            while self._take_if("!"):
                base = ("factorial", base)
        while self._take_if("°"):
            base = ("multiply", base, _DEGREE)
        return base

    def _exponent(self, depth: int) -> Node:
        if self._peek() == ("mark", "{"):
            return self._group(depth)
        if self._take_if("-"):
            return ("negate", self._exponent(depth + 1))
        if depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        return self._power(depth + 1)

    def _starts_atom(self) -> bool:
        kind, value = self._peek()
        if kind in ("number", "word"):
            return True
        if kind == "command":
            return value in _ATOM_COMMANDS
        if (kind, value) == ("mark", "|"):
            return not self._in_bars
        return (kind, value) in (("mark", "("), ("mark", "{"))

    def _group(self, depth: int) -> Node:
        self._expect("{")
        inner = self.over(depth + 1)
        self._expect("}")
        return inner

    def _argument(self, depth: int) -> Node:
        r"""`{...}`, or one token: \frac12 is 1/2."""
        kind, value = self._peek()
        if (kind, value) == ("mark", "{"):
            return self._group(depth)
        if kind == "number" and len(value) > 1 and value.isdigit():
            self.tokens[self.position] = ("number", value[1:])
            return ("number", Fraction(int(value[0])))
        return self._atom(depth + 1)

    def _atom(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        kind, value = self._take()
        if kind == "number":
            return ("number", Fraction(value + "0" if value.endswith(".") else value))
        if kind in ("word", "command"):
            return self._named(kind, value, depth)
        if (kind, value) == ("mark", "("):
            inner = self.expression(depth + 1)
            self._expect(")")
            return inner
        if (kind, value) == ("mark", "["):
            inner = self.expression(depth + 1)
            self._expect("]")
            return inner
        if (kind, value) == ("mark", "{"):
            self.position -= 1
            return self._group(depth)
        if (kind, value) == ("mark", "|"):
            return ("abs", self._between_bars(depth))
        raise Unreadable(f"unexpected {value or 'end'!r}")

    def _between_bars(self, depth: int) -> Node:
        self._in_bars += 1
        inner = self.expression(depth + 1)
        self._in_bars -= 1
        self._expect("|")
        return inner

    def _named(self, kind: str, value: str, depth: int) -> Node:  # noqa: PLR0911 - one for each
        if value in _FRACTIONS:
            top = self._argument(depth)
            return ("divide", top, self._argument(depth))
        if value in _BINOMIALS:
            top = self._argument(depth)
            return ("binomial", top, self._argument(depth))
        if value in ("sqrt", "√"):
            return self._root(depth)
        if value in _ROUNDED:
            return self._rounded(value, depth)
        if value.lower() in FUNCTIONS and len(value) > 1:
            return self._function(value.lower(), depth)
        if value in _CONSTANTS:
            return ("constant", _CONSTANTS[value])
        if kind == "word" or value in GREEK:
            return ("symbol", value + self._subscript() + self._primes())
        raise Unreadable(f"\\{value} is not read")

    def _rounded(self, opening: str, depth: int) -> Node:
        closing, name = _ROUNDED[opening]
        inner = self.expression(depth + 1)
        if self._take() != ("command", closing):
            raise Unreadable(f"\\{opening} without \\{closing}")
        return (name, inner)

    def _root(self, depth: int) -> Node:
        degree: Node = ("number", Fraction(2))
        if self._take_if("["):
            degree = self.expression(depth + 1)
            self._expect("]")
        return ("root", self._argument(depth), degree)

    def _function(self, name: str, depth: int) -> Node:
        base = self._argument(depth) if self._take_if("_") else None
        exponent = self._exponent(depth) if self._take_if("^") else None
        if exponent == _MINUS_ONE and name in _CIRCULAR:
            name, exponent = "arc" + name, None
        arguments = self._arguments_of(name, depth)
        node: Node = (name, *arguments)
        if base is not None:
            if name != "log":
                raise Unreadable(f"{name} with a base")
            node = ("divide", ("ln", *arguments), ("ln", base))
        return node if exponent is None else ("power", node, exponent)

    def _arguments_of(self, name: str, depth: int) -> list[Node]:
        if self._peek() == ("mark", "("):
            arguments = self._arguments(depth, ("mark", ")"))
        elif self._peek() == ("command", "{"):
            arguments = self._arguments(depth, ("command", "}"))
        elif self._peek() == ("mark", "{"):
            arguments = [self._group(depth)]
        else:
            arguments = [self._unbracketed(depth + 1)]
        if len(arguments) > 1 and name in _OF_ONE:
            raise Unreadable(f"{name} of {len(arguments)} values")
        return arguments

    def _unbracketed(self, depth: int) -> Node:
        r"""What a function without brackets applies to: \sin 2x is the sine of 2x."""
        left = self._power(depth)
        while left[0] in ("number", "divide", "multiply") and self._starts_symbol():
            left = ("multiply", left, self._power(depth))
        return left

    def _starts_symbol(self) -> bool:
        kind, value = self._peek()
        if kind == "word":
            return value.lower() not in FUNCTIONS or len(value) == 1
        return kind == "command" and (value in GREEK or value in _CONSTANTS or value == "sqrt")

    def _arguments(self, depth: int, closing: tuple[str, str]) -> list[Node]:
        r"""Between brackets, or the braces of \max\{a, b\}."""
        self._take()
        arguments = [self.expression(depth + 1)]
        while self._take_if(","):
            arguments.append(self.expression(depth + 1))
        if self._take() != closing:
            raise Unreadable("brackets of arguments that are not closed")
        return arguments

    def _subscript(self) -> str:
        if not self._take_if("_"):
            return ""
        if not self._take_if("{"):
            return "_" + self._take()[1]
        inside = ""
        while not self._take_if("}"):
            inside += self._take()[1]
        return "_" + inside

    def _primes(self) -> str:
        primes = ""
        while self._take_if("'"):
            primes += "'"
        return primes


_TIMES = {("command", "times"), ("command", "cdot"), ("command", "ast")}
_OVER = {"over": "divide", "choose": "binomial"}
_FRACTIONS = {"frac", "dfrac", "tfrac", "cfrac"}
_BINOMIALS = {"binom", "dbinom", "tbinom"}
_ROUNDED = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_DEGREE: Node = ("divide", ("constant", "pi"), ("number", Fraction(180)))
_MINUS_ONE = ("negate", ("number", Fraction(1)))
_ATOM_COMMANDS = (
    _FRACTIONS | _BINOMIALS | set(_ROUNDED) | {"sqrt"} | set(_CONSTANTS) | FUNCTIONS | GREEK
)
COMMANDS = _ATOM_COMMANDS | {name for _, name in _TIMES} | set(_OVER) | {"div", "rfloor", "rceil"}
"""What is read here; but for the commands of tasks, nothing that a solver would be asked for."""


def _is_proper(fraction: Node) -> bool:
    top, bottom = fraction[1], fraction[2]
    return top[0] == bottom[0] == "number" and bool(top[1] < bottom[1])
