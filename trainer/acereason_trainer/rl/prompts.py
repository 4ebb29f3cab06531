"""The problems of an RL stage: what it draws from and what it validates on, rendered once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import RL
from acereason_trainer.dataset import (
    Domain,
    Row,
    read_rows,
    require_checkable,
    require_distinct_ids,
)
from acereason_trainer.prompting import render_prompt
from acereason_trainer.row_choice import matches, mixed
from acereason_trainer.seeds import draw_seed
from acereason_trainer.stage import StageContext, StageFailure
from acereason_trainer.telemetry.log_line import say


@dataclass(frozen=True)
class Prompt:
    """A dataset row and its token ids."""

    row: Row
    tokens: tuple[int, ...]

    @property
    def id(self) -> str:
        """Name of the row."""
        return self.row.id


@dataclass(frozen=True)
class Problems:
    """What a stage works on."""

    prompts: list[Prompt]
    """Drawn from; one of weight 2 stands twice."""
    held_out: list[Prompt]
    """Validated on, never trained on; empty without validation."""
    too_long: int
    """Prompts that were left out as longer than maxPromptTokens."""

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(p.tokens) for p in (*self.prompts, *self.held_out))


def problems_of(context: StageContext, stage: RL, domain: Domain, tokenizer: Any) -> Problems:
    """Read, select and render the stage's problems. Raises StageFailure with a sentence."""
    key = context.prepared.key
    rows = list(read_rows(context.data_dir))
    prompts, too_long = select_prompts(rows, stage, domain, tokenizer, key)
    held_out: list[Prompt] = []
    if stage.validation is not None and stage.validation.held_out_share is not None:
        prompts, held_out = split(prompts, stage.validation.held_out_share, context)
    elif stage.validation is not None:
        held_out = _given(context, stage, domain, tokenizer)
    if stage.validation is not None:
        # By the run's seed alone: stages of a run validate on the same problems.
        name = ("validation", context.file.seed)
        held_out = first_by_name(held_out, stage.validation.max_problems, name)
    say(
        f"{len(rows):,} rows, {len(prompts):,} prompts after where and mix, {too_long:,} dropped "
        f"as longer than maxPromptTokens, {len(held_out):,} problems for validation"
    )
    return Problems(prompts, held_out, too_long)


def split(
    prompts: Sequence[Prompt], share: float, context: StageContext
) -> tuple[list[Prompt], list[Prompt]]:
    """What is trained on, and what is held out of it. Raises StageFailure where either is empty.

    Text and seed alone decide, so that a problem that one stage validates on is trained on by none
    with the same share.
    """
    if context.prepared.inputs.validation is not None:
        raise _bad(
            "BadValidation",
            "validation.heldOutShare holds problems out of the stage's own data, and "
            "inputs.validation gives others; remove one of them",
        )
    out = [draw_seed("heldOut", context.file.seed, p.row.problem) < share * 2**64 for p in prompts]
    held_out = [p for p, is_out in zip(prompts, out, strict=True) if is_out]
    if len(held_out) in (0, len(prompts)):
        raise _bad(
            "NoValidation",
            f"validation.heldOutShare {share:g} of {len(prompts)} prompts holds out "
            f"{len(held_out)}; with so few, give inputs.validation instead",
        )
    return [p for p, is_out in zip(prompts, out, strict=True) if not is_out], held_out


def _given(context: StageContext, stage: RL, domain: Domain, tokenizer: Any) -> list[Prompt]:
    """The problems of `inputs.validation`."""
    ref = context.prepared.inputs.validation
    if ref is None:
        raise _bad(
            "NoValidation",
            "validation has no problems; give inputs.validation, or validation.heldOutShare",
        )
    plain = stage.model_copy(update={"where": [], "mix": []})
    rows = list(read_rows(context.input_dir(ref)))
    return select_prompts(rows, plain, domain, tokenizer, context.prepared.key)[0]


def first_by_name(
    prompts: Sequence[Prompt], number: int, name: tuple[str | int, ...]
) -> list[Prompt]:
    """`number` different prompts, chosen by the seed."""
    different = {p.id: p for p in prompts}.values()
    return sorted(different, key=lambda p: draw_seed(*name, p.id))[:number]


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
        raise _bad(
            "NoPrompts",
            f"no prompt is left of {len(rows)} rows: {len(own)} are {domain} and match where, "
            f"{len(chosen)} are left by mix, none has at most maxPromptTokens "
            f"{settings.max_prompt_tokens}",
        )
    return prompts, len(chosen) - len(prompts)


def _bad(reason: str, sentence: str) -> StageFailure:
    return StageFailure(ExitCode.BAD_CONFIGURATION, reason, sentence)
