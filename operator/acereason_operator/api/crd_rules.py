"""What the API server checks beyond types and bounds, in CEL.

The same rules stand in the models as validators, which also read files without a server; a test
holds the two together over a corpus. What CEL cannot say (a walk along `needs` of any length) is
left to `acereason validate` and the planner.

Single values inside a written object are there, since they have defaults; objects may be absent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from acereason_trainer.config.common import Range
from acereason_trainer.config.curate import PassRate
from acereason_trainer.config.evaluate import Evaluate
from acereason_trainer.config.forms import EXPLANATIONS, SHORT_NAME
from acereason_trainer.config.rl import (
    RL,
    CodeRL,
    EntropyBand,
    GroupSize,
    HealthStop,
    MathRL,
    Overlong,
    RLStop,
    Temperature,
)
from acereason_trainer.config.sft import SFT, SFTBudget
from acereason_trainer.config.sources import ModelSource, Source
from acereason_trainer.config.stage_file import StageSettings
from pydantic import BaseModel

from acereason_operator.api.crd_edits import edit_rule
from acereason_operator.api.crd_schema import Rule, Schema
from acereason_operator.api.run import (
    AceReasonRunSpec,
    Deadlines,
    EnvVar,
    Overrides,
    Resources,
    Stage,
    Storage,
)

UNIONS: tuple[type[BaseModel], ...] = (
    ModelSource, Source, Storage, Temperature, GroupSize, RLStop, SFTBudget,
)  # fmt: skip
"""Models of which exactly one member is set."""

_SOURCES = ("model", "data", "validation")


def _one_of(union: type[BaseModel]) -> Rule:
    members = [info.alias or name for name, info in union.model_fields.items()]
    given = ", ".join(f"has(self.{member})" for member in members)
    return Rule(f"[{given}].exists_one(given, given)", f"needs exactly one of {', '.join(members)}")


def _keyed(key: str) -> Schema:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _default(model: type[BaseModel], field: str) -> Any:
    return model.model_fields[field].default


def _warm_up(model: type[BaseModel], steps: str) -> Rule:
    """Warm-up must end before the stage does; `steps` is the CEL of when that is."""
    warm_up = _default(model, "optimizer").warmup_steps
    return Rule(
        f"(has(self.optimizer) ? self.optimizer.warmupSteps : {warm_up}) < ({steps})",
        "optimizer.warmupSteps: the stage ends before the warm-up does; warm up for fewer",
    )


_VLLM = Rule(
    "!has(self.vllm) || self.sampler == 'vllm'",
    "vllm: means something only with sampler: vllm; set that, or leave vllm out",
)


def _rl(model: type[RL]) -> list[Rule]:
    never = 2**53
    steps = (
        f"!has(self.stop) ? {_default(model, 'stop').steps} : has(self.stop.steps) ? "
        f"self.stop.steps : has(self.stop.plateau) ? self.stop.plateau.maxSteps : {never}"
    )
    return [
        Rule(
            "!has(self.stop) || !has(self.stop.plateau) || has(self.validation)",
            "stop.plateau: a plateau is seen by validation, which is not set; add validation: "
            "{everySteps: 50} beside stop",
        ),
        Rule(
            "self.checkpoint != 'best' || has(self.validation)",
            "checkpoint: the best checkpoint is found by validation, which is not set; add "
            "validation: {everySteps: 50} beside checkpoint",
        ),
        _VLLM,
        _warm_up(model, steps),
        Rule(
            "!has(self.optimizer) || self.optimizer.finalFraction >= 1.0 || !has(self.stop) || "
            "!has(self.stop.epochs) || (!has(self.dynamicSampling) && self.dropSolved == 'never')",
            "optimizer.finalFraction: dynamicSampling and dropSolved leave open after how many "
            "steps the epochs end; give stop: {steps: ...}, or leave finalFraction out",
        ),
    ]


def _stage() -> Iterator[Rule]:
    yield _one_of(StageSettings)
    yield Rule(
        "has(self.curate) || !has(self.inputs) || !has(self.inputs.heldOut) || "
        "self.inputs.heldOut.size() == 0",
        "only a curate stage drops what overlaps with held-out sets; remove it, or move it to the "
        "curate stage",
        field=".inputs.heldOut",
    )
    yield Rule(
        "has(self.mathRL) || has(self.codeRL) || !has(self.inputs) || !has(self.inputs.validation)",
        "only mathRL and codeRL validate while they train; remove it, or add an evaluate stage",
        field=".inputs.validation",
    )
    yield Rule(
        "!has(self.curate) || has(self.curate.passRate) || !has(self.inputs) || "
        "!has(self.inputs.model)",
        "a curate stage asks a model only for passRate, which is not set; remove it, or set "
        "curate.passRate",
        field=".inputs.model",
    )
    for kind in ("mathRL", "codeRL"):
        yield Rule(
            f"!has(self.{kind}) || (has(self.{kind}.validation) && "
            f"!has(self.{kind}.validation.heldOutShare)) == "
            "(has(self.inputs) && has(self.inputs.validation))",
            f"{kind}.validation and inputs.validation belong together: how often, and on which "
            "problems; add the other one or remove both (validation.heldOutShare stands in the "
            "place of inputs.validation)",
        )
    yield Rule(
        "!has(self.curate) || !has(self.curate.decontamination) || "
        "dyn(self.curate.decontamination) == null || "
        "(has(self.inputs) && has(self.inputs.heldOut) && self.inputs.heldOut.size() > 0)",
        "curate.decontamination has nothing to compare with; add the evaluation sets: inputs: "
        "{heldOut: [...]}",
    )


def _spec() -> Iterator[Rule]:
    yield Rule(
        "self.stages.all(s, !has(s.needs) || s.needs.all(n, self.stages.exists(t, t.name == n)))",
        "stages: needs names a stage that does not exist; correct the name",
    )
    yield Rule(
        f"self.stages.all(s, !has(s.needs) || [{_place('s.name')}].all(at, "
        f"s.needs.all(n, {_place('n')} < at)))",
        "stages: a stage can need only what is above it; move one of them",
    )
    for name, kinds in (
        ("model", ("sft", "mathRL", "codeRL")),
        ("data", ("curate",)),
        ("validation", ("curate",)),
    ):
        yield _from_stage(name, kinds)
    yield Rule(
        "self.stages.all(s, !has(s.inputs) || !has(s.inputs.heldOut) || s.inputs.heldOut.all(h, "
        "!has(h.stage) || self.stages.exists(t, t.name == h.stage && has(t.curate))))",
        "stages: inputs.heldOut[].stage must name a curate stage",
    )
    yield Rule(
        "[self.stages.map(t, has(t.curate)).indexOf(true)].all(first, self.stages.all(s, "
        "(has(s.inputs) && has(s.inputs.data)) || ((!has(s.needs) || s.needs.size() > 0) && "
        f"first >= 0 && {_place('s.name')} > first)))",
        "stages: every stage reads data, and one has no curate stage along its needs; add inputs: "
        "{data: {path: ...}} to it, or let it need a curate stage",
    )
    paths = ["self.model.path", "self.model.fromConfig.config", "self.model.fromConfig.tokenizer"]
    absolute = " && ".join(_absolute(path, "self.model") for path in paths)
    of_stages = " && ".join(_absolute(f"s.inputs.{name}.path", "s.inputs") for name in _SOURCES)
    yield Rule(
        f"!has(self.storage.objectStore) || ({absolute} && self.stages.all(s, !has(s.inputs) || "
        f"({of_stages} && (!has(s.inputs.heldOut) || s.inputs.heldOut.all(h, !has(h.path) || "
        "h.path.startsWith('/'))))))",
        "a path is relative to the run file, which stages on an object store do not see; use hub, "
        "artifact or the absolute path of a mounted volume",
    )
    yield Rule(
        "!has(self.storage.claimTemplate) || "
        "self.storage.claimTemplate.accessMode != 'ReadWriteOnce' || self.stages.all(s, "
        "(has(s.nodes) ? s.nodes : has(self.defaults) && has(self.defaults.nodes) ? "
        "self.defaults.nodes : 1) == 1)",
        "several nodes cannot share a claim that is ReadWriteOnce; set "
        "storage.claimTemplate.accessMode: ReadWriteMany",
    )


def _place(name: str) -> str:
    """Position of the stage of a name, or -1. (Comparing first leaves truth values to search, whose
    cost is known.)"""
    return f"self.stages.map(t, t.name == {name}).indexOf(true)"


def _from_stage(name: str, kinds: Sequence[str]) -> Rule:
    """An input that names a stage names one above, of a kind that makes what is wanted."""
    asked = f"s.inputs.{name}"
    makes = " || ".join(f"has(t.{kind})" for kind in kinds)
    return Rule(
        f"self.stages.all(s, !has(s.inputs) || !has({asked}) || !has({asked}.stage) || "
        f"({_place(f'{asked}.stage')} < {_place('s.name')} && "
        f"self.stages.exists(t, t.name == {asked}.stage && ({makes}))))",
        f"stages: inputs.{name}.stage must name a stage above of kind {' or '.join(kinds)}",
    )


def _absolute(path: str, top: str) -> str:
    """A path that is set starts with a slash; what holds it, below `top`, may be absent."""
    parts = path.removeprefix(f"{top}.").split(".")
    absent = [f"!has({top}.{'.'.join(parts[: n + 1])})" for n in range(len(parts))]
    return f"({' || '.join(absent)} || {path}.startsWith('/'))"


_ZERO = "'^(0+([.]0+)?(ms|s|m|h))+$'"

RULES: dict[type[BaseModel], Sequence[Rule]] = {
    **{union: [_one_of(union)] for union in UNIONS},
    Range: [
        Rule(
            "has(self.min) || has(self.max)",
            "has neither min nor max and matches everything; give one of them",
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "min is above max; swap them",
        ),
    ],
    PassRate: [
        Rule(
            "self.maxCorrect <= self.samples",
            "maxCorrect is above samples, which would keep everything; use less than samples",
            field=".maxCorrect",
        ),
        Rule(
            "self.minCorrect <= self.maxCorrect",
            "minCorrect is above maxCorrect, which would drop everything; swap them",
            field=".minCorrect",
        ),
        _VLLM,
    ],
    GroupSize: [
        _one_of(GroupSize),
        Rule(
            "(!has(self.fixed) || self.fixed > 1) && "
            "(!has(self.perEpoch) || self.perEpoch.all(size, size > 1))",
            "1 gives no spread to learn from; use 2 or more (the papers: 8 or 16)",
        ),
    ],
    EntropyBand: [Rule("self.min < self.max", "min is not below max; swap them")],
    HealthStop: [
        Rule(
            "!has(self.goOn) || ((!('mismatch' in self.goOn) || has(self.maxMismatchKl)) && "
            "(!('entropy' in self.goOn) || has(self.entropy)) && "
            "(!('truncation' in self.goOn) || has(self.maxTruncatedShare)))",
            "goOn names what is not looked for; set maxMismatchKl, entropy or maxTruncatedShare, "
            "or leave it out of goOn",
            field=".goOn",
        )
    ],
    Overlong: [
        Rule(
            "self.mode == 'mask' || (self.inStatistics && self.inDenominator)",
            "inStatistics and inDenominator mean something only with mode: mask; leave them out or "
            "set mode: mask",
        )
    ],
    MathRL: _rl(MathRL),
    CodeRL: _rl(CodeRL),
    SFT: [
        Rule(
            "self.tokensPerMicroBatch >= self.rowTokens",
            "tokensPerMicroBatch is below rowTokens; one packed row must fit",
            field=".tokensPerMicroBatch",
        ),
        _warm_up(SFT, f"has(self.budget) && has(self.budget.steps) ? self.budget.steps : {2**53}"),
    ],
    Evaluate: [
        Rule(
            "!has(self.passAt) || self.passAt.all(k, self.sets.all(s, s.samples >= k))",
            "pass@k needs at least k samples per problem; raise samples of each set or leave the k "
            "out",
            field=".passAt",
        ),
        _VLLM,
    ],
    EnvVar: [
        Rule("has(self.value) != has(self.valueFrom)", "needs exactly one of value, valueFrom")
    ],
    Resources: [
        Rule(
            f"!has(self.{where}) || !('cpu' in self.{where}) || "
            f"!(self.{where}['cpu'] in [dyn(0), dyn('0'), dyn('0m'), dyn('0.0')])",
            f"{where}.cpu: 0 CPUs cannot run anything; ask for more, as in 1 or 500m",
        )
        for where in ("requests", "limits")
    ],
    Deadlines: [
        Rule(
            f"!has(self.{name}) || !self.{name}.matches({_ZERO})",
            "would end every attempt at once; use more, or leave it out",
            field=f".{name}",
        )
        for name in ("pending", "active")
    ],
    Stage: list(_stage()),
    AceReasonRunSpec: list(_spec()),
}
"""Rules of each model's objects."""

LISTS: dict[tuple[type[BaseModel], str], Schema] = {
    (AceReasonRunSpec, "stages"): _keyed("name"),
    (Stage, "needs"): {"x-kubernetes-list-type": "set"},
    (Stage, "env"): _keyed("name"),
    (Overrides, "env"): _keyed("name"),
    (Evaluate, "sets"): _keyed("name"),
}
"""Lists in which nothing may stand twice."""


def run_rules() -> list[Rule]:
    """Rules of the whole object: its name, and what can't be edited any more."""
    name = Rule(
        f"self.metadata.name.matches('{SHORT_NAME}')", f"metadata.name: {EXPLANATIONS[SHORT_NAME]}"
    )
    return [name, edit_rule()]
