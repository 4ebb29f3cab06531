r"""Rule-based exclusions: which problems are not worth training on, judged by their text alone.

AceReason 1.0 section 3.2.1 and appendix A.4 name the rules (several sub-questions, multiple choice,
true or false, answers too long, proofs, non-English, figures, too short) and print no threshold and
no pattern. Each rule here is one function, named in reports as its setting is named. The patterns
are made for precision: a rule that fires on good problems costs more than one that misses a few,
because the pass-rate filter sees the missed ones again.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from acereason_trainer.config.curate import Curate, Rules
from acereason_trainer.dataset import Row
from acereason_trainer.row_choice import matches

Predicate = Callable[[Row, Rules], bool]


@dataclass(frozen=True)
class Rule:
    """A reason to drop a row."""

    reason: str
    """Name in counts and reports: the setting's name in YAML."""
    drops: Predicate
    """Whether the row is dropped."""


LATIN_SHARE = 0.7
"""Least share of Latin letters among all letters of an English text."""
_LAST_LATIN = 0x24F
"""Latin Extended-B ends here."""

_PICTURE = r"(?:figures?|diagrams?|pictures?|images?|drawings?|illustrations?)"
_QUESTION = (
    r"(?:find|what|determine|prove|show|how|calculate|compute|which|when|where|who|is|are|does|do|"
    r"solve|write|express|evaluate|give|state|estimate|if)"
)
_START = r"(?:^|\n|[.;:?!,])\s*"

_OPTION_IN_PARENTHESES = re.compile(
    r"\(\s*(?:\\(?:text(?:bf)?|mathrm|mathbf)\s*\{)?\s*([A-E])\s*\}?\s*\)"
)
_OPTION_AT_LINE_START = re.compile(r"^\s*(?:\\item\s*)?\$?([A-E])\s*[.):]\s*\S", re.MULTILINE)
_LETTERED_PART = re.compile(_START + r"(?:\(([a-d]|i{1,3})\)|([a-d]|i{1,3})\))\s", re.MULTILINE)
_NUMBERED_QUESTION = re.compile(
    _START + r"(?:\(([1-4])\)|([1-4])\))\s*(?:" + _QUESTION + r")\b", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Phrase:
    """A pattern of lower-case text, and words of which it always holds one.

    Most problems hold none of the words, and looking for words is ten times as fast.
    """

    words: tuple[str, ...]
    pattern: re.Pattern[str]

    def is_in(self, lower: str) -> bool:
        """Whether a lower-case text holds it."""
        return any(w in lower for w in self.words) and self.pattern.search(lower) is not None


_WHICH_OF = Phrase(("following",), re.compile(r"\bwhich (?:one )?of the following\b"))
_TRUE_OR_FALSE = Phrase(
    ("true", "right or"), re.compile(r"\b(?:true or false|true/false|right or wrong)\b")
)
_PROOF = Phrase(
    ("prove", " that"),
    re.compile(r"\b(?:prove|disprove)\b|\b(?:show|demonstrate|verify|justify|deduce) that\b"),
)
_LINK_OR_IMAGE = Phrase(
    ("![", "<img", "includegraphics", "http", "www."),
    re.compile(r"!\[[^\]]*\]\s*\(|<img\b|\\includegraphics|https?://|\bwww\."),
)
_REFERS_TO_PICTURE = Phrase(
    (
        "figur",
        "diagram",
        "pictur",
        "image",
        "drawing",
        "illustrat",
        "shown",
        "drawn",
        "depict",
        "as seen",
        "shaded",
    ),
    re.compile(
        rf"\b(?:see|in|from) (?:the |this |each )?(?:\w+ing |attached |above |below )?{_PICTURE}\b"
        rf"|\b{_PICTURE} (?:is |are )?(?:shown|given|drawn|pictured|provided|below|above)\b"
        r"|\bas (?:shown|pictured|illustrated|depicted|seen) (?:in|on|by|below|above|here|at|to)\b"
        r"|\b(?:pictured|shown|drawn|depicted) (?:below|above|(?:at|to) (?:the )?(?:left|right))\b"
        r"|\bshaded (?:region|area|part|portion|square|triangle)s?\b"
    ),
)
_DRAWN_IN_TEXT = re.compile(r"\[asy\]|\\begin\{(?:tikzpicture|asy|tabular|array)\}|\|\s*-{3,}")

_TRUTH_WORDS = frozenset({"true", "false", "yes", "no"})
_NO_ANSWER_WORDS = frozenset({"notfound", "not found", "none", "n/a", "unknown"})


def dropped_by(row: Row, settings: Curate) -> str | None:
    """The first reason to drop the row, or None: what the stage asks for, then the rules."""
    if settings.domain not in ("any", row.domain):
        return "domain"
    if not matches(row, settings.where):
        return "where"
    if settings.require_response and "response" not in row.data:
        return "requireResponse"
    if not settings.require_response and not _has_answer(row):
        return "noAnswer"
    return next((rule.reason for rule in RULES if rule.drops(row, settings.rules)), None)


def too_short(row: Row, rules: Rules) -> bool:
    """The statement has fewer characters than minProblemCharacters."""
    return len(row.problem.strip()) < rules.min_problem_characters


def too_long(row: Row, rules: Rules) -> bool:
    """The statement has more characters than maxProblemCharacters."""
    return len(row.problem) > rules.max_problem_characters


def answer_too_long(row: Row, rules: Rules) -> bool:
    """The reference answer of a math problem has more characters than maxAnswerCharacters."""
    return row.domain == "math" and len(_answer(row)) > rules.max_answer_characters


def is_multiple_choice(row: Row, rules: Rules) -> bool:
    """The source says so, options A, B and C are listed, or it asks which of the following."""
    if rules.multiple_choice == "keep" or row.domain != "math":
        return False
    if _question_type(row) in ("mcq", "multiple-choice", "multiple choice"):
        return True
    options = {"A", "B", "C"}
    return (
        options <= set(_OPTION_IN_PARENTHESES.findall(row.problem))
        or options <= set(_OPTION_AT_LINE_START.findall(row.problem))
        or _WHICH_OF.is_in(row.problem.lower())
    )


def is_true_false(row: Row, rules: Rules) -> bool:
    """The answer is true, false, yes or no, or the question asks for one of two."""
    if rules.true_false == "keep" or row.domain != "math":
        return False
    bare = re.sub(r"\\text\s*\{(.*)\}", r"\1", _answer(row).strip().strip("$."))
    return bare.strip().lower() in _TRUTH_WORDS or _TRUE_OR_FALSE.is_in(row.problem.lower())


def is_proof(row: Row, rules: Rules) -> bool:
    """The source says so, or it asks to prove or show something."""
    if rules.proofs == "keep" or row.domain != "math":
        return False
    if _question_type(row) == "proof" or _answer(row).strip().lower() == "proof":
        return True
    return _PROOF.is_in(row.problem.lower())


def has_sub_questions(row: Row, rules: Rules) -> bool:
    """Two lettered parts, or two numbered ones that each ask something.

    Numbered conditions ("such that (1) a < b; (2) b is even") are no questions.
    """
    if rules.sub_questions == "keep" or row.domain != "math":
        return False
    lettered = {a or b for a, b in _LETTERED_PART.findall(row.problem)}
    if {"a", "b"} <= lettered or {"i", "ii"} <= lettered:
        return True
    return {"1", "2"} <= {a or b for a, b in _NUMBERED_QUESTION.findall(row.problem)}


def needs_figure(row: Row, rules: Rules) -> bool:
    """Links or embeds an image, or speaks of a picture that is not drawn in the text itself."""
    if rules.figures == "keep":
        return False
    if _LINK_OR_IMAGE.is_in(row.problem.lower()):
        return True
    if _DRAWN_IN_TEXT.search(row.problem):
        return False
    return _REFERS_TO_PICTURE.is_in(row.problem.lower())


def is_not_english(row: Row, rules: Rules) -> bool:
    """Fewer than 7 in 10 letters are Latin (other languages in Latin script pass)."""
    if rules.non_english == "keep" or row.problem.isascii():
        return False
    letters = [c for c in row.problem if c.isalpha()]
    latin = sum(ord(c) <= _LAST_LATIN for c in letters)
    return latin < LATIN_SHARE * len(letters)


def has_few_tests(row: Row, rules: Rules) -> bool:
    """A code problem has fewer tests than minTests (worked answers may have none to count)."""
    return "tests" in row.data and len(row.data["tests"]) < rules.min_tests


RULES = (
    Rule("minProblemCharacters", too_short),
    Rule("maxProblemCharacters", too_long),
    Rule("minTests", has_few_tests),
    Rule("maxAnswerCharacters", answer_too_long),
    Rule("multipleChoice", is_multiple_choice),
    Rule("trueFalse", is_true_false),
    Rule("proofs", is_proof),
    Rule("subQuestions", has_sub_questions),
    Rule("figures", needs_figure),
    Rule("nonEnglish", is_not_english),
)
"""In this order; a row is counted under the first that matches."""


def reasons() -> Iterator[str]:
    """Every reason a row can be dropped for by its own content, in the order of checking."""
    yield from ("domain", "where", "requireResponse", "noAnswer")
    yield from (rule.reason for rule in RULES)


def _has_answer(row: Row) -> bool:
    if row.domain == "code":
        return "tests" in row.data
    return _answer(row).strip().lower() not in {"", *_NO_ANSWER_WORDS}


def _answer(row: Row) -> str:
    return str(row.data.get("answer", ""))


def _question_type(row: Row) -> str:
    """NuminaMath-1.5 says what kind of question each row is."""
    return str(row.data.get("question_type", "")).lower()
