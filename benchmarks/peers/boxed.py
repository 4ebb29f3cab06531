"""The answer in a box, as the quickstart's models give it. The standard library only."""


def boxed(text: str) -> str | None:
    """What stands in the last box after the reasoning. A comparison of text costs nothing, and of
    whole numbers it says what our verifier says."""
    _, ended, said = text.rpartition("</think>")
    _, opened, inside = said.rpartition("\\boxed{")
    answer, closed, _ = inside.partition("}")
    return answer.strip() if ended and opened and closed else None
