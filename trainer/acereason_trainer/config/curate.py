"""Settings of a `curate` stage: which rows of a dataset are worth training on.

AceReason 1.0 section 3.2.1 and appendix A.4; a refilter between RL stages is a `curate` stage of
its own whose only rule is `pass_rate`.
"""

from typing import Literal

from pydantic import Field, model_validator

from acereason_trainer.config.common import (
    Column,
    MixPart,
    ModelLoading,
    Prompting,
    Range,
    Sampling,
    Telemetry,
    Verifier,
)
from acereason_trainer.config.model import IN_KEY_WHEN_SET, NOT_IN_KEY, Combination, Model
from acereason_trainer.config.vllm import VLLM, Engine, require_vllm


class Columns(Model):
    """Names of the source's columns, where they differ from ours."""

    problem: Column = "problem"
    """Statement of the problem."""
    answer: Column = "answer"
    """Reference answer of a math problem."""
    tests: Column = "tests"
    """Tests of a code problem: a list of {input, output}, {stdin, stdout} or {call, args,
    expected}, or its JSON text. A test may give the reference solution's CPU `seconds`."""
    response: Column = "response"
    """A worked answer, with its reasoning: the target of SFT."""
    starter: Column = "starter"
    """Function header of a call-based code problem."""
    time_limit: Column = "time_limit"
    """CPU seconds that a Python program may take for one test, where a problem has its own limit
    (sites often give one that is meant for compiled languages: map another column then)."""
    memory_limit: Column = "memory_limit"
    """MiB that a program may use, where a problem has its own limit."""
    tolerance: Column = "tolerance"
    """Absolute or relative error that the statement allows, for numbers written as decimals."""
    id: Column = "id"
    """A stable name of the row; made from the problem's text where it is missing."""
    domain: Column = "domain"
    """`math` or `code`; where it is missing, a row with tests is code (1.1's SFT set calls it
    `category` and has no tests)."""


class Rules(Model):
    """Rows that a rule matches are dropped, and counted under the rule's name.

    AceReason 1.0 lists the rules and leaves the thresholds open; the defaults are ours.
    """

    min_problem_characters: int = Field(default=20, ge=0)
    """Shorter statements are fragments: three or four words hardly ask anything."""
    max_problem_characters: int = Field(default=8000, ge=1)
    """Longer statements are scraping accidents: 8000 are some 2000 tokens, RL's maxPromptTokens."""
    max_answer_characters: int = Field(default=100, ge=1)
    """Longer reference answers cannot be checked by a rule reliably: nearly all numbers, intervals
    and formulas fit into 100."""
    multiple_choice: Literal["drop", "keep"] = "drop"
    """Guessing scores a quarter."""
    true_false: Literal["drop", "keep"] = "drop"
    """Guessing scores a half."""
    proofs: Literal["drop", "keep"] = "drop"
    """No final answer to check."""
    sub_questions: Literal["drop", "keep"] = "drop"
    """Several answers, one box."""
    figures: Literal["drop", "keep"] = "drop"
    """Refers to a picture or a link that is not there."""
    non_english: Literal["drop", "keep"] = "drop"
    """Fewer than 7 in 10 letters are Latin."""
    min_tests: int = Field(default=1, ge=0)
    """Code problems with fewer tests pass wrong programs (1.0 section 4.3.6)."""


class Decontamination(Model):
    """Drop rows that share a run of words with a held-out set."""

    ngram: int = Field(default=9, ge=1, le=64)
    """Words in a run: the papers use 9 for math RL and SFT, 14 for code RL. Lower-cased, split at
    everything that is not a letter or a digit."""
    min_matches: int = Field(default=1, ge=1)
    """How many different shared runs drop a row; the papers say any one."""


class PassRate(Model):
    """Keep the prompts that a model neither always nor never solves."""

    samples: int = Field(default=16, ge=1, le=1024)
    """Attempts per prompt (1.0: 16 before the 24K stage)."""
    min_correct: int = Field(default=0, ge=0)
    """Fewest right attempts to stay. 0 keeps the unsolved ones, as the papers do."""
    max_correct: int = Field(default=6, ge=0)
    """Most right attempts to stay (1.0 table 3: 6 of 16 was best)."""
    max_response_tokens: int = Field(default=16384, ge=1)
    """Length limit of an attempt: that of the stage before (1.0 filters with the 16K policy)."""
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0)
    """How attempts are drawn: as RL draws, from the whole distribution, so that the rate is that of
    a group."""
    prompting: Prompting = Prompting()
    """How problems become prompts."""
    loading: ModelLoading = ModelLoading()
    """How the weights are held."""
    verifier: Verifier = Verifier()
    """Who checks the attempts."""
    sampler: Engine = Field(default="transformers", json_schema_extra=IN_KEY_WHEN_SET)
    """Engine of the attempts, as in RL: `transformers` draws the same bits each time, `vllm` is far
    faster on GPUs. With either, every GPU of the stage draws its share."""
    vllm: VLLM | None = Field(default=None, json_schema_extra=NOT_IN_KEY)
    """How `sampler: vllm` runs. Unset: its defaults."""
    prompts_per_batch: int = Field(default=64, ge=1)
    """Prompts whose attempts the transformers sampler decodes together: with 16 attempts each, 1024
    sequences. In the key: the batch's shape decides the last bits."""

    @property
    def sequences_per_batch(self) -> int:
        """Sequences decoded together by the transformers sampler."""
        return self.prompts_per_batch * self.samples

    @model_validator(mode="after")
    def _vllm_is_the_sampler(self) -> "PassRate":
        require_vllm(self.sampler, self.vllm)
        return self

    @model_validator(mode="after")
    def _band(self) -> "PassRate":
        if self.max_correct > self.samples:
            raise Combination(
                f"{self.max_correct} is above samples {self.samples}, which would keep everything; "
                f"use {self.samples - 1} or less",
                "maxCorrect",
                "samples",
            )
        if self.min_correct > self.max_correct:
            raise Combination(
                f"{self.min_correct} is above maxCorrect {self.max_correct}, which would drop "
                "everything; swap them",
                "minCorrect",
                "maxCorrect",
            )
        return self


class Curate(Model):
    """Reads JSONL or parquet rows, drops what cannot be learned from, says why for each."""

    columns: Columns = Columns()
    """The source's column names."""
    domain: Literal["math", "code", "any"] = "any"
    """Keep only rows of this domain (`columns.domain` says how it is known)."""
    require_response: bool = False
    """Keep only rows with a worked answer: for SFT."""
    where: list[Range] = Field(default_factory=list, max_length=16)
    """Conditions a row must all meet, for example a teacher's failures `{column: difficulty,
    max: 5}` (1.0: 5 of 8 for the 7B model's first code stage)."""
    rules: Rules = Rules()
    """Rule-based exclusions."""
    deduplicate: Literal["none", "exact", "normalized"] = "normalized"
    """`exact`: same text. `normalized`: same words after case, punctuation and spaces are gone.
    With `require_response`, rows of one prompt with different responses all stay."""
    decontamination: Decontamination | None = Decontamination()
    """Overlap with `inputs.heldOut`; null leaves it out."""
    mix: list[MixPart] = Field(default_factory=list, max_length=16)
    """Resampling by ranges of a column, for example teacher tokens."""
    pass_rate: PassRate | None = None
    """Filter by a model's own success; needs `inputs.model` or a model along `needs`."""
    max_rows: int | None = Field(default=None, ge=1)
    """Keep at most this many rows, chosen by the seed."""
    telemetry: Telemetry = Telemetry()
    """What is recorded."""
