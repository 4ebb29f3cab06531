"""Settings that several stage kinds share."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from acereason_trainer.config.forms import COLUMN, IMPORT_PATH, VERIFIER_SERVICE
from acereason_trainer.config.model import IN_KEY_WHEN_SET, NOT_IN_KEY, Combination, Model

Layout = Literal["packed", "padded", "auto"]
"""How the sequences of a step lie in a forward pass."""
Column = Annotated[str, Field(pattern=COLUMN)]
ImportPath = Annotated[str, Field(pattern=IMPORT_PATH, max_length=256)]


class Range(Model):
    """Rows whose number in one column lies in [min, max]."""

    column: Column
    """A column of the dataset; a row without it does not match."""
    min: float | None = None
    """Smallest value that matches; unset: no lower bound."""
    max: float | None = None
    """Largest value that matches; unset: no upper bound."""

    @model_validator(mode="after")
    def _bounded(self) -> "Range":
        if self.min is None and self.max is None:
            raise Combination("has neither min nor max and matches everything; give one of them")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Combination(f"{self.min:g} is above max {self.max:g}; swap them", "min", "max")
        return self


class MixPart(Model):
    """A part of the data and how often it is drawn."""

    where: list[Range] = Field(min_length=1, max_length=8)
    """Conditions that a row must all meet. A row belongs to the first part that it matches."""
    weight: float = Field(ge=0)
    """How many times as often as an unmatched row such a row is drawn: 0 leaves it out, 0.25 keeps
    a quarter of these rows, 2 draws each twice per epoch (AceReason 1.1 weights easy prompts up in
    its first stage and down after)."""


class Sampling(Model):
    """How answers are drawn from a model when it is measured."""

    temperature: float = Field(default=0.6, ge=0, le=2)
    """Divides the logits; 0 is greedy. The papers evaluate at 0.6."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Keeps the smallest set of tokens with this much probability. The papers evaluate at 0.95."""


class CodeLimits(Model):
    """What one run of a model-written program may use."""

    seconds_per_test: float = Field(default=6.0, gt=0, le=600)
    """CPU seconds for one test (LiveCodeBench's default; the papers state none), where neither the
    test nor the problem says more. CPU time, so that a busy machine changes no verdict; a program
    that does nothing is ended after as long and 2 s."""
    reference_factor: float = Field(default=10.0, ge=1, le=1000)
    """A test that says how many CPU `seconds` the reference solution took may take so many times as
    long, and 1 s at least. 10 leaves room for a slower right idea in Python and ends a wrong
    complexity."""
    seconds_per_program: float = Field(default=60.0, gt=0, le=3600)
    """CPU seconds for all tests of one program together, whatever each may take; for a custom
    reward, wall-clock seconds of one call."""
    memory_mib: int = Field(default=1024, ge=64, le=65536)
    """Address space of one program in MiB beyond the bare interpreter's, where the problem does not
    give a limit."""
    output_kib: int = Field(default=1024, ge=1, le=1048576)
    """Output of one test in KiB beyond four times what is expected; the program is stopped
    there."""


class Verifier(Model):
    """Who checks answers, and within which limits."""

    service: str = Field(
        default="auto", pattern=VERIFIER_SERVICE, max_length=512, json_schema_extra=NOT_IN_KEY
    )
    """`local`: worker processes beside the trainer. An address: the verifier service there, with
    the limits below; verdicts are the same. `auto`: the service that ACEREASON_VERIFIER_URL names
    (a cluster's chart sets it), else local."""
    patience_seconds: float = Field(default=300.0, ge=1, le=86400, json_schema_extra=NOT_IN_KEY)
    """How long a service may take nothing on and give no verdict before what waits for it is left
    without one (masked, never a 0). A restart or a move to another node takes about a minute."""
    workers: int = Field(default=2, ge=1, le=4096, json_schema_extra=NOT_IN_KEY)
    """Processes that check answers at once on this machine (the papers: 64)."""
    math_seconds: float = Field(default=5.0, gt=0, le=600)
    """CPU seconds for one symbolic comparison; then its process is killed and the answer counts as
    wrong by timeout. 5 leave room for an unusual expression, and an endless one holds
    its worker no longer."""
    code: CodeLimits = CodeLimits()
    """Limits of one model-written program."""

    def shared_by(self, ranks: int) -> "Verifier":
        """For one of so many ranks of a machine, each with its part of the workers."""
        return self.model_copy(update={"workers": max(1, self.workers // ranks)})


class Prompting(Model):
    """How a problem becomes a prompt. Rendered once per prompt; token ids from then on."""

    template: Literal["chat", "plain"] = "chat"
    """`chat`: the tokenizer's chat template. `plain`: question, instruction and `think_open`
    without role tokens (models without a template)."""
    system: str | None = Field(default=None, max_length=4096)
    """System message. AceReason 1.1: "You are a helpful and harmless assistant. You should think
    step-by-step."; 1.0 has none."""
    math_instruction: str = Field(
        default="Please place your final answer inside \\boxed{}.", max_length=4096
    )
    """Follows a math question after a blank line (1.1's wording)."""
    code_instruction: str = Field(
        default=(
            "Write Python code to solve the problem. Please place the solution code in the "
            "following format:\n```python\n# Your solution code here\n```"
        ),
        max_length=4096,
    )
    """Follows a code question after a blank line (both papers' wording)."""
    header_instruction: str = Field(
        default="Solve the problem starting with the provided function header.", max_length=4096
    )
    """Stands before a function header, where the problem gives one."""
    think_open: str = Field(default="<think>\n", max_length=64)
    """Opens the assistant's turn, so that the model reasons first; then only what follows
    `</think>` can hold its answer. Empty, for models that do not reason: all of a response can."""

    @property
    def thinks(self) -> bool:
        """Whether a response has to end its reasoning before it answers."""
        return bool(self.think_open.strip())


class ModelLoading(Model):
    """How weights are held while training or sampling."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the forward pass; the optimizer's copy is always float32."""
    rope_theta: float | None = Field(default=None, gt=0)
    """Replaces the model's rotary base (1.1: 1,000,000 for Qwen2.5-Math-7B, 128K context)."""
    max_position_embeddings: int | None = Field(
        default=None, ge=1, le=2**24, json_schema_extra=IN_KEY_WHEN_SET
    )
    """Replaces the context length that the model's configuration promises, here and in what is
    published: samplers refuse longer sequences (1.1: 131072, beside ropeTheta). Unset: as the model
    says, and with ropeTheta no limit in this stage."""


class Zero(Model):
    """How several ranks hold one model (DeepSpeed's ZeRO). Changes rounding, never results."""

    stage: Literal[1, 2, 3] = Field(default=3, json_schema_extra=NOT_IN_KEY)
    """What is spread over the ranks: 1 the optimizer's float32 weights and moments (12 bytes per
    parameter), 2 also the gradients (4), 3 also the weights (2). 3 trains whatever can be trained
    at all; 2 is faster where a rank has room for all weights."""
    offload_optimizer: bool = Field(default=False, json_schema_extra=NOT_IN_KEY)
    """Keep each rank's share of the optimizer in host memory and step there: 12 bytes per
    parameter, over all ranks, less on the GPUs, and each step waits for the host."""


class Saving(Model):
    """When a stage writes its resume state. Never changes results, so never in the key."""

    minutes_at_risk: float = Field(default=10.0, ge=0, le=1440, json_schema_extra=NOT_IN_KEY)
    """A state is written when this many minutes of work would otherwise be lost; 0 writes one
    after every step."""
    keep: int = Field(default=2, ge=1, le=64, json_schema_extra=NOT_IN_KEY)
    """States of one stage that are kept; two survive a bad newest one. With `health`, up to two
    older ones stay beside them: what a health stop goes back to, and what comes after that."""


class Telemetry(Model):
    """What a stage records beside its result."""

    dump_rollouts_every: int = Field(default=0, ge=0, json_schema_extra=NOT_IN_KEY)
    """Every how many steps all rollouts (ids, text, verdict, logprobs) are written for a human to
    read; 0: never. Where several ranks measure a model: those that the first one drew."""
    tensorboard: bool = Field(default=False, json_schema_extra=NOT_IN_KEY)
    """Also write TensorBoard event files into the attempt's directory."""
    metrics_port: int = Field(default=0, ge=0, le=65535, json_schema_extra=NOT_IN_KEY)
    """Port of `/metrics` of the running stage; 0: none."""
    peak_tflops: float | None = Field(default=None, gt=0, json_schema_extra=NOT_IN_KEY)
    """What one device is capable of at the model's dtype, in 10^12 operations per second: what the
    metric `mfu` is a share of. Unset: as the data sheets of common GPUs say for bfloat16; without
    such a GPU there is no `mfu`."""
