r"""Reads the mathematics that stands in a box: a small subset of LaTeX and of plain notation.

    expression := term (("+" | "-" | "\pm") term)*
    term       := factor (("*" | "/" | nothing) factor)*
    factor     := "-" factor | power "!"?
    power      := atom ("^" exponent)?
    atom       := number | symbol | \frac{}{} | \sqrt[]{} | function atom | ( ) | | |

The result is a tree of tuples. Nothing is evaluated here, and nothing of the text is ever executed;
length, digits and nesting are bounded before anything else looks at it, since one answer such as
10^{10^{10}} or a thousand open brackets must not stop a training run (see `Unreadable`).
"""

import re
from fractions import Fraction
from typing import Any

Node = tuple[Any, ...]
"""("number", Fraction), ("symbol", name), ("constant", name) or (operation, Node, ...)."""

MAX_CHARACTERS = 400
MAX_DIGITS = 200
MAX_DEPTH = 24
MAX_EXPONENT = 2000
MAX_BITS = 20_000
"""Largest numbers that are computed exactly; anything beyond is no answer to a problem."""

_CONSTANTS = {"pi": "pi", "π": "pi", "e": "e", "i": "i", "infty": "oo", "infinity": "oo", "∞": "oo"}
_FUNCTIONS = {
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "ln",
    "log",
    "exp",
    "abs",
    "floor",
    "ceil",
    "min",
    "max",
    "gcd",
    "lcm",
}
_NAMES = _FUNCTIONS | {"sqrt", "pi", "infinity"}
_GREEK = {
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "theta",
    "lambda",
    "mu",
    "nu",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "omega",
    "Delta",
    "Omega",
    "ell",
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)|\\(?P<command>[A-Za-z]+|[|{}])|(?P<word>[A-Za-z]+|[π∞√])"
    r"|(?P<mark>\*\*|[-+*/^_!()\[\]{}|,=<>]))"
)


class Unreadable(ValueError):
    """Not an expression of the subset, or beyond its bounds."""


def parse(text: str) -> Node:
    """The tree of one expression. Raises Unreadable."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"longer than {MAX_CHARACTERS} characters")
    parser = _Parser(_tokens(text))
    tree = parser.expression(0)
    if parser.position != len(parser.tokens):
        raise Unreadable(f"unexpected {parser.tokens[parser.position][1]!r}")
    return tree


def rational(node: Node) -> Fraction | None:
    """The exact value of a tree of rational arithmetic, None where it is anything else.

    Raises Unreadable for a division by zero or a number beyond the bounds.
    """
    kind = node[0]
    if kind == "number":
        return Fraction(node[1])
    if kind not in _RATIONAL:
        return None
    values = [rational(child) for child in node[1:]]
    known = [v for v in values if v is not None]
    if len(known) != len(values):
        return None
    result: Fraction | None = _RATIONAL[kind](*known)
    if (
        result is not None
        and max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS
    ):
        raise Unreadable("a number too large to be an answer")
    return result


def _divide(a: Fraction, b: Fraction) -> Fraction:
    if b == 0:
        raise Unreadable("division by zero")
    return a / b


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    if abs(exponent) > MAX_EXPONENT and abs(base) != 1 and base != 0:
        raise Unreadable("an exponent too large to be an answer")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > MAX_BITS and abs(base) != 1 and base != 0:
        raise Unreadable("a number too large to be an answer")
    if base == 0 and exponent < 0:
        raise Unreadable("division by zero")
    return base ** int(exponent)


def _factorial(n: Fraction) -> Fraction | None:
    if n.denominator != 1 or n < 0:
        return None
    if n > 1000:
        raise Unreadable("a factorial too large to be an answer")
    result = 1
    for factor in range(2, int(n) + 1):
        result *= factor
    return Fraction(result)


def _binomial(n: Fraction, k: Fraction) -> Fraction | None:
    if n.denominator != 1 or k.denominator != 1 or n < 0:
        return None
    if not 0 <= k <= n:
        return Fraction(0)
    if n > 1000:
        raise Unreadable("a binomial too large to be an answer")
    result = Fraction(1)
    for j in range(int(min(k, n - k))):
        result = result * (n - j) / (j + 1)
    return result


_RATIONAL: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": _divide,
    "negate": lambda a: -a,
    "power": _power,
    "factorial": _factorial,
    "binomial": _binomial,
    "abs": abs,
}


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"unexpected {text[position : position + 8]!r}")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind == "number" and len(value) > MAX_DIGITS:
            raise Unreadable(f"a number of more than {MAX_DIGITS} digits")
        tokens.append(("mark", "^") if value == "**" else (kind, value))
        position = match.end()
    return [piece for token in tokens for piece in _split_word(token)]


def _split_word(token: tuple[str, str]) -> list[tuple[str, str]]:
    """`xy` is x times y; `pi`, `sqrt`, `sin` are names."""
    kind, value = token
    if kind != "word" or len(value) == 1 or value.lower() in _NAMES:
        return [(kind, value)]
    return [("word", letter) for letter in value]


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0

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

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
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
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
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
        return base

    def _exponent(self, depth: int) -> Node:
        if self._peek() == ("mark", "{"):
            return self._group(depth)
        if self._take_if("-"):
            return ("negate", self._exponent(depth + 1))
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
        return self._power(depth + 1)

    def _starts_atom(self) -> bool:
        kind, value = self._peek()
        if kind in ("number", "word"):
            return True
        if kind == "command":
            return value in _ATOM_COMMANDS
        return (kind, value) in (("mark", "("), ("mark", "{"))

    def _group(self, depth: int) -> Node:
        self._expect("{")
        inner = self.expression(depth + 1)
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
            raise Unreadable(f"nested deeper than {MAX_DEPTH}")
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
            inner = self.expression(depth + 1)
            self._expect("|")
            return ("abs", inner)
        raise Unreadable(f"unexpected {value or 'end'!r}")

    def _named(self, kind: str, value: str, depth: int) -> Node:
        if value in ("frac", "dfrac", "tfrac", "cfrac"):
            top = self._argument(depth)
            return ("divide", top, self._argument(depth))
        if value in ("binom", "dbinom", "tbinom"):
            top = self._argument(depth)
            return ("binomial", top, self._argument(depth))
        if value in ("sqrt", "√"):
            return self._root(depth)
        if value.lower() in _FUNCTIONS and len(value) > 1:
            return self._function(value.lower(), depth)
        if value in _CONSTANTS:
            return ("constant", _CONSTANTS[value])
        if kind == "word" or value in _GREEK:
            return ("symbol", value + self._subscript())
        raise Unreadable(f"\\{value} is not read")

    def _root(self, depth: int) -> Node:
        degree: Node = ("number", Fraction(2))
        if self._take_if("["):
            degree = self.expression(depth + 1)
            self._expect("]")
        return ("power", self._argument(depth), ("divide", ("number", Fraction(1)), degree))

    def _function(self, name: str, depth: int) -> Node:
        base: Node | None = None
        if self._take_if("_"):
            base = self._argument(depth)
        exponent = self._exponent(depth) if self._take_if("^") else None
        if self._peek() == ("mark", "("):
            arguments = self._arguments(depth)
        else:
            arguments = [self._power(depth + 1)]
        node: Node = (name, *arguments)
        if name == "log" and base is not None:
            node = ("divide", ("ln", *arguments), ("ln", base))
        return node if exponent is None else ("power", node, exponent)

    def _arguments(self, depth: int) -> list[Node]:
        self._expect("(")
        arguments = [self.expression(depth + 1)]
        while self._take_if(","):
            arguments.append(self.expression(depth + 1))
        self._expect(")")
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


_TIMES = {("command", "times"), ("command", "cdot"), ("command", "ast")}
_ATOM_COMMANDS = (
    {"frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom", "sqrt"}
    | set(_CONSTANTS)
    | _FUNCTIONS
    | _GREEK
)


def _is_proper(fraction: Node) -> bool:
    top, bottom = fraction[1], fraction[2]
    return top[0] == bottom[0] == "number" and bool(top[1] < bottom[1])
