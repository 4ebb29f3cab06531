r"""One spelling for the many ways to set the same answer: `\dfrac 12 \,` and `\frac{1}{2}`.

Only decoration is removed here (spacing, sizes, dollar signs, percent signs, degrees outside of
sines and the like, synonyms of a command); nothing that carries a value or that separates one
answer from another.
"""

import re

MAX_CHARACTERS = 2000
"""A longer answer is not read at all: no problem has one, and reading costs time."""

_FUNCTION_NAMES = (
    "sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|arcsin|arccos|arctan|arccot|arcsec|arccsc|arcsinh|"
    "arccosh|arctanh|ln|lg|log|exp|min|max|gcd|lcm"
)
_FONT = (
    r"mathrm|textrm|textnormal|textbf|mathbf|textit|mathit|textsf|mbox|boldsymbol|operatorname\*?"
)

_REPLACED: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\\(?:left|right|middle)(?![A-Za-z])\s*\.?|\\(?:[bB]igg?[lrm]?|displaystyle|textstyle|"
            r"limits|nolimits)(?![A-Za-z])",
            "",
        ),
        (r"\\(?:text)?color\s*\{[^{}]*\}|\\underline(?![A-Za-z])", ""),
        (r"(?<=\d)\s*\^\s*\{\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}", ""),
        (r"^\s*\\text\s*\{\s*(?:[Tt]he )?(?:final )?[Aa]nswer(?: is)?\s*:?\s*\}", ""),
        (r"\{,\}|,\\!\s*", ","),
        (r"\\!", ""),
        (
            r"(?<!\\)\\[,;: ]|[~\u00a0\u2009]|\\q?quad(?![A-Za-z])|"
            r"\\(?:hspace|phantom)\s*\{[^{}]*\}",
            " ",
        ),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", "°"),
        (
            rf"°\s*(?:\\(?:{_FONT}|text)\s*\{{\s*([CF])\s*\}}|([CF])(?![A-Za-z]))",
            r"\\text{ deg\1\2}",
        ),
        (r"\\?%|\\percent(?![A-Za-z])", ""),
        (r"\\?[$£€¥¢]|\\yen(?![A-Za-z])", ""),
        (r"(?<!\\)\\[()\[\]]|(?<=\\\\)\[[^\[\]&]*\]", ""),
        (r"[\u2212\u2013\u2010\u2011]", "-"),
        (r"\u00d7", r"\\times "),
        (r"[·⋅]", r"\\cdot "),
        (r"÷", "/"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"√", r"\\sqrt "),
        (r"π", r"\\pi "),
        (r"∞", r"\\infty "),
        (r"\u222a", r"\\cup "),
        (r"∩", r"\\cap "),
        (r"∈", r"\\in "),
        (r"∅|\\varnothing(?![A-Za-z])", r"\\emptyset "),
        (r"\u211d", r"\\mathbb{R}"),
        (r"±|\+/-", r"\\pm "),
        (r"∓", r"\\mp "),
        (r"[Ω\u2126]", r"\\Omega "),
        (r"≈|\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])", r"\\approx "),
        (r"²", "^2"),
        (r"³", "^3"),
        (r"½", r"\\frac{1}{2}"),
        (r"¼", r"\\frac{1}{4}"),
        (r"¾", r"\\frac{3}{4}"),
        (r"≤|\\leq?(?:slant|q)?(?![A-Za-z])", "<="),
        (r"≥|\\geq?(?:slant|q)?(?![A-Za-z])", ">="),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"≠|\\neq?(?![A-Za-z])|\\not\s*=", "!="),
        (r"\\equiv(?![A-Za-z])", "="),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\backslash(?![A-Za-z])", r"\\setminus "),
        (r"\\[lr]?vert(?![A-Za-z])|\\[lr]?Vert(?![A-Za-z])|\\\|", "|"),
        (r"\\lor(?![A-Za-z])|\\vee(?![A-Za-z])", r"\\text{ or }"),
        (r"\\land(?![A-Za-z])|\\wedge(?![A-Za-z])", r"\\text{ and }"),
        (rf"\\(?:{_FONT})\s*\{{\s*({_FUNCTION_NAMES}|[ei])\s*\}}", r" \1 "),
        (rf"\\(?:{_FONT}|rm|bf|it)\s*\{{", r"\\text{"),
        (r"\\bar(?![A-Za-z])", r"\\overline"),
        (r"\\overline\s*\{\s*([A-Z]{2})\s*\}", r" \1 "),
        (r"\^\s*(?:\{\s*\\prime\s*\}|\\prime(?![A-Za-z]))", "'"),
        (r"\\mathbb\s*(?:\{\s*([A-Z])\s*\}|\s([A-Z]))", r"\\mathbb{\1\2}"),
    )
]
_OF_ANGLES = re.compile(r"(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc)(?![a-z])", re.I)
_SIDE = re.compile(r"[^,;=]+")
_SYSTEM = re.compile(
    r"\\begin\s*\{(?P<of>cases|aligned|align\*?|alignedat|gathered|gather\*?|split)\}"
    r"(?P<rows>.*?)\\end\s*\{(?P=of)\}",
    re.S,
)
_STATEMENT = re.compile(r"[^&]*?&?\s*(?:=|<|>|<=|>=|!=)\s*&?[^&]*?")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z(){}\[\]])")
"""Backslashes that were escaped twice on their way through JSON; rows of a matrix end in two."""
_RECURRING = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{(\d{1,12})\}")
_JOINED = re.compile(
    r"\s*,?\s*(?:\\text\s*\{\s*,?\s*(?P<text>or|and)\s*,?\s*\}|"
    r"(?<![A-Za-z\\])(?P<word>or|and)(?![A-Za-z]))\s*"
)
_JOINED_BEHIND_WORDS = re.compile(r"\\text\s*\{([^{}]*[A-Za-z.]),? (or|and) ?\}")
"""3 \\text{ cm and } 4 \\text{ cm}"""
_NUMERAL = re.compile(r"-?\d+(?:\.\d+)?", re.A)
_SPACES = re.compile(r"\s+")
_BESIDE_NO_NUMBERS = re.compile(r"(?<![\d.]) | (?![\d.])")


def normal_form(text: str) -> str:
    """The same answer without decoration."""
    if _NUMERAL.fullmatch(text):  # most answers
        return text
    if r"\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    if "°" in text:
        text = _SIDE.sub(_without_degrees, text)
    text = _SYSTEM.sub(_as_list, text)
    text = _SPACES.sub(" ", text)
    text = text.replace(";", ",")
    text = _RECURRING.sub(_as_fraction, text)
    text = _JOINED_BEHIND_WORDS.sub(r"\\text{\1}\\text{\2}", text)
    text = _JOINED.sub(lambda m: f" \\{m['text'] or m['word']} ", text)
    text = _SPACES.sub(" ", text).strip()
    return text.rstrip(".,; ")


def squeezed(text: str) -> str:
    """A normal form without spaces, but for those between two numbers: 2 1/2 is not 21/2."""
    return _BESIDE_NO_NUMBERS.sub("", text)


def _without_degrees(side: re.Match[str]) -> str:
    """40 and 40° have two cosines; elsewhere degrees are the unit that an angle is asked for in."""
    return side[0] if _OF_ANGLES.search(side[0]) else side[0].replace("°", "")


def _as_fraction(match: re.Match[str]) -> str:
    r"""0.1\overline{6} is 15/90."""
    whole, fixed, repeated = match[1] or "0", match[2], match[3]
    bottom = (10 ** len(repeated) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + repeated) - int(whole + fixed)
    return rf"\frac{{{top}}}{{{bottom}}}"


def _as_list(match: re.Match[str]) -> str:
    """A system of statements, one in a row, with commas between; a function by cases stays."""
    rows = [row.strip().rstrip(",") for row in match["rows"].split(r"\\") if row.strip()]
    if not all(_STATEMENT.fullmatch(row) for row in rows):
        return match[0]
    return ", ".join(row.replace("&", "") for row in rows)
