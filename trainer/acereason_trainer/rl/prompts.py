"""The prompts of an RL stage, rendered once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import RL
from acereason_trainer.dataset import Row, matches, mixed, require_checkable, require_distinct_ids
from acereason_trainer.prompting import render_prompt
from acereason_trainer.stage import StageFailure


@dataclass(frozen=True)
class Prompt:
    """A dataset row and its token ids."""

    row: Row
    tokens: tuple[int, ...]

    @property
    def id(self) -> str:
        """Name of the row."""
        return self.row.id


def select_prompts(
    rows: Sequence[Row], settings: RL, domain: Literal["math", "code"], tokenizer: Any, key: str
) -> tuple[list[Prompt], int]:
    """The rows of the stage's domain that its conditions admit, mixed and rendered.

    Returns prompts (a row of weight 2 stands twice) and the number left out as too long. Raises
    StageFailure where nothing is left.
    """
    own = [r for r in rows if r.domain == domain and matches(r, settings.where)]
    for row in own:
        require_checkable(row)
    require_distinct_ids(own)
    chosen = mixed(own, settings.mix, key)
    rendered = {row.id: tuple(render_prompt(row, settings.prompting, tokenizer)) for row in chosen}
    prompts = [
        Prompt(row, rendered[row.id])
        for row in chosen
        if len(rendered[row.id]) <= settings.max_prompt_tokens
    ]
    if not prompts:
        raise StageFailure(
            ExitCode.BAD_CONFIGURATION,
            "NoPrompts",
            f"no prompt is left of {len(rows)} rows: {len(own)} are {domain} and match where, "
            f"{len(chosen)} are left by mix, none has at most maxPromptTokens "
            f"{settings.max_prompt_tokens}",
        )
    return prompts, len(chosen) - len(prompts)
