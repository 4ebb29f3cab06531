"""*Runs*: what a researcher watches, from which stage a run is in to why a step is slow."""

from acereason_trainer.rewards.protocol import Verdict
from acereason_trainer.telemetry.metrics import PHASES
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from charts.dashboards.panels import (
    FRACTION,
    HALF,
    NATS,
    NUMBER,
    QUARTER,
    SECONDS,
    TOKENS,
    TOKENS_PER_SECOND,
    WHOLE,
    Limits,
    Panel,
    Series,
    bars,
    board,
    lines,
    listed,
    stacked,
    variable,
)

UID, TITLE = "acereason-runs", "AceReason / Runs"
CHOSEN = 'namespace=~"$namespace", run=~"$run", stage=~"$stage"'
NAME = "{{run}} {{stage}}"


def runs(other: tuple[str, str]) -> Dashboard:
    """The dashboard; other: uid and title of the one that it links to."""
    said = "AceReasonRuns: accuracy, reward, entropy, lengths, speed. One curve for each stage."
    whole = board(UID, TITLE, said, other)
    for choice in (
        variable(
            "namespace",
            "Namespace",
            "Namespaces of runs.",
            "label_values(acereason_run_state, namespace)",
        ),
        variable(
            "run",
            "Run",
            "Runs that were under way in the time shown.",
            'label_values(acereason_run_state{namespace=~"$namespace"}, run)',
        ),
        variable(
            "stage",
            "Stage",
            "Stages of these runs.",
            'label_values(acereason_run_stage_state{namespace=~"$namespace", run=~"$run"}, stage)',
        ),
    ):
        whole = whole.with_variable(choice)
    for title, panels in ROWS.items():
        whole = whole.with_row(Row(title))
        for panel in panels:
            whole = whole.with_panel(panel)
    return whole


def _of_stage(metric: str) -> str:
    """A metric of telemetry/metrics.py, of each stage: one curve over its attempts."""
    return f"max by (namespace, run, stage) (acereason_stage_{metric}{{{CHOSEN}}})"


def _curve(metric: str, suffix: str = "", *, dashed: bool = False) -> Series:
    return Series(_of_stage(metric), f"{NAME} {suffix}".strip(), dashed)


def _operators(metric: str, by: str = "namespace, run, stage") -> str:
    """What the operator says of each stage, by whichever replica."""
    return f"max by ({by}) (acereason_run_stage_{metric}{{{CHOSEN}}})"


def _parts(names: list[str], ending: str, label: str) -> str:
    """Several metrics of the stages as one, told apart by a label: their means over the stages."""
    named = f'__name__=~"acereason_stage_({"|".join(names)})_{ending}"'
    told = f'"{label}", "$1", "__name__", "acereason_stage_(.+)_{ending}"'
    return f"avg by ({label}) (label_replace({{{named}, {CHOSEN}}}, {told}))"


PLACE: list[Panel] = [
    listed(
        "Stages",
        "Where each stage is. Waiting: for a stage above. Pending: for its pods, or its turn in a "
        "queue. BackingOff: between two attempts; kubectl describe says why the last one ended.",
        NUMBER,
        Series(_operators("state", "namespace, run, stage, kind, state"), ""),
        ["namespace", "run", "stage", "kind", "state"],
    ),
    bars(
        "Steps done",
        "Completed steps of running stages, as the operator last noted them.",
        FRACTION,
        Series(f"{_operators('step')} / {_operators('steps')}", NAME),
        width=QUARTER,
    ),
    bars(
        "Accuracy by stage",
        "What each evaluation came to: avg@k of each set, after the stage that it measured.",
        FRACTION,
        Series(
            "max by (namespace, run, stage, set) "
            f"(last_over_time(acereason_run_stage_accuracy{{{CHOSEN}}}[$__range]))",
            "{{run}} {{stage}} {{set}}",
        ),
        width=QUARTER,
    ),
]

LEARNING: list[Panel] = [
    lines(
        "Reward",
        "Mean reward over checked responses of a step. It should rise within a stage and may fall "
        "where the length limit or the data changes.",
        NUMBER,
        _curve("reward"),
        top=1,
    ),
    lines(
        "Validation accuracy",
        "Accuracy on the validation problems, one standard error to either side. Reward that rises "
        "while this stands still is memory.",
        FRACTION,
        _curve("validation_accuracy"),
        Series(
            f"{_of_stage('validation_accuracy')} + {_of_stage('validation_stderr')}",
            f"{NAME} + error",
            dashed=True,
        ),
        Series(
            f"{_of_stage('validation_accuracy')} - {_of_stage('validation_stderr')}",
            f"{NAME} - error",
            dashed=True,
        ),
        top=1,
    ),
    lines(
        "Entropy against its target",
        "Mean -log p of sampled tokens at the sampling temperature; dashed: the target that the "
        "temperature was chosen for. The papers' runs stay between 0.1 and 0.3 nats.",
        NATS,
        _curve("entropy"),
        _curve("entropy_target", "target", dashed=True),
    ),
    lines(
        "Loss",
        "SFT: nats per token, which fall. RL: the objective, which says little by itself.",
        NUMBER,
        _curve("loss"),
    ),
    lines(
        "Gradient norm",
        "Before clipping. A steep rise comes before a collapse.",
        NUMBER,
        _curve("grad_norm"),
    ),
    lines(
        "Sampler against trainer",
        "Mismatch KL between the sampler's and the trainer's probabilities of the same tokens. "
        "Near 0 where both hold the same weights; from 0.01 on training is no longer on-policy.",
        NATS,
        _curve("mismatch_kl"),
        limits=Limits(amber=0.01, red=0.1),
    ),
]

RESPONSES: list[Panel] = [
    lines(
        "Length",
        "Mean tokens of a response, right and wrong ones apart. Right ones should grow with a "
        "stage of a longer limit; wrong ones that grow alone are loops.",
        TOKENS,
        _curve("response_tokens"),
        _curve("response_tokens_correct", "right"),
        _curve("response_tokens_wrong", "wrong"),
        width=HALF,
    ),
    lines(
        "Truncated responses",
        "Share that hit the length limit; they earn 0, or are masked. Much of it at a stage's "
        "start is what the stage is for.",
        FRACTION,
        _curve("truncated_share"),
        width=HALF,
        limits=Limits(amber=0.3),
        top=1,
    ),
    stacked(
        "Verdicts",
        "What became of the answers, as shares. Format: no answer where one must stand. Infra "
        "error: no verdict for our own reasons; such answers are left out.",
        FRACTION,
        Series(_parts([v.value for v in Verdict], "share", "verdict"), "{{verdict}}"),
        width=HALF,
    ),
    lines(
        "Groups without signal",
        "Prompts whose responses are all right or all wrong teach nothing. Above a half, the data "
        "is too easy or too hard for this model: see which.",
        FRACTION,
        _curve("no_signal_share", "no signal"),
        _curve("all_right_share", "all right"),
        _curve("all_wrong_share", "all wrong"),
        width=HALF,
        limits=Limits(amber=0.5),
        top=1,
    ),
]

SPEED: list[Panel] = [
    lines(
        "Tokens per second",
        "Generated tokens by the seconds of generation; SFT: trained tokens by those of the step.",
        TOKENS_PER_SECOND,
        _curve("generated_tokens_per_second", "generated"),
        _curve("tokens_per_second", "trained"),
        width=HALF,
    ),
    lines(
        "Time of a step",
        "Wall-clock seconds, and dashed the seconds between 90 % and 100 % of its responses: what "
        "the longest ones cost.",
        SECONDS,
        _curve("step_seconds"),
        _curve("tail_seconds", "tail", dashed=True),
        width=HALF,
    ),
    lines(
        "Use of the devices",
        "Idle: the share of a step in which devices neither draw nor train, since they wait for "
        "data, verdicts, slower ranks or storage. MFU, where the device is known: arithmetic as a "
        "share of what the devices could do.",
        FRACTION,
        _curve("idle_share", "idle"),
        _curve("mfu", "MFU", dashed=True),
        width=HALF,
        top=1,
    ),
    lines(
        "Tokens per second and device",
        "Prompt and response tokens of a step by its seconds, for each device: what another "
        "number of devices is to be compared by.",
        TOKENS_PER_SECOND,
        _curve("device_tokens_per_second"),
        width=HALF,
    ),
    stacked(
        "Seconds per phase",
        "Where a step's time goes, as the mean of the chosen stages. Reward wait is the verifier; "
        "save is storage.",
        SECONDS,
        Series(_parts(list(PHASES), "seconds", "phase"), "{{phase}}"),
        width=WHOLE,
    ),
]

ROWS: dict[str, list[Panel]] = {
    "Where the runs are": PLACE,
    "Learning": LEARNING,
    "Responses": RESPONSES,
    "Speed": SPEED,
}
