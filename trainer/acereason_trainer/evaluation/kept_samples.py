"""Which answers a human sees in the report: as many right as wrong ones, spread over the set."""

from collections.abc import Callable, Sequence
from typing import Any

from acereason_trainer.dataset import Row
from acereason_trainer.evaluation.journal import GradedAnswer


def kept_samples(
    set_name: str,
    rows: Sequence[Row],
    answers: Sequence[GradedAnswer],
    limit: int,
    prompt_of: Callable[[Row], str],
) -> list[dict[str, Any]]:
    """At most `limit` of the answers, half of them right where there are enough of both.

    `answers`: at most one for each row. `prompt_of` renders a row's prompt as text.
    """
    problems = {row.id: row for row in rows}
    right = [a for a in answers if a.correct]
    wrong = [a for a in answers if not a.correct]
    rights = min(len(right), max(limit - limit // 2, limit - len(wrong)))
    kept = [*_spread(right, rights), *_spread(wrong, limit - rights)]
    order = {row.id: n for n, row in enumerate(rows)}
    return [
        _sample(set_name, problems[a.row_id], a, prompt_of)
        for a in sorted(kept, key=lambda a: order[a.row_id])
    ]


def _spread(answers: Sequence[GradedAnswer], count: int) -> list[GradedAnswer]:
    """`count` of the answers at even distances."""
    count = min(count, len(answers))
    return [answers[i * len(answers) // count] for i in range(count)]


def _sample(
    set_name: str, row: Row, answer: GradedAnswer, prompt_of: Callable[[Row], str]
) -> dict[str, Any]:
    return {
        "set": set_name,
        "id": row.id,
        "problem": row.problem,
        "prompt": prompt_of(row),
        "answer": row.data.get("answer"),
        "tests": len(row.data.get("tests", ())),
        "response": answer.text,
        "verdict": answer.verdict,
        "detail": answer.detail,
        "passed": answer.passed,
        "tokens": answer.tokens,
        "truncated": answer.truncated,
    }
