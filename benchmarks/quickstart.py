"""Does RL do what the quickstart says? Three seeds, and the same compute spent on more SFT.

    make bench-quickstart          (about 30 minutes on 2 cores)

Each seed decides the random weights and every draw. The control arm starts from the same data and
base and trains with SFT alone, for the steps of the quickstart's SFT plus as many as fit into the
seconds that RL took on this machine in this run (drawing, checking and training; not evaluation).
It has one cosine over all its steps, and runs beside the RL arm of the next seed.

Writes benchmarks/results/quickstart.json and prints its table.
"""

import argparse
import json
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml
from acereason_operator.api.load import load_run

from benchmarks.machine import machine
from benchmarks.runs import accuracies, acereason_run, stages, step_seconds

FILE = Path("examples/quickstart.yaml")
RESULT = Path("benchmarks/results/quickstart.json")
RL_STAGES = ("math-1", "math-2", "code", "math-3")
EVALUATIONS = {
    "SFT": "sft-eval",
    "math 1": "math-1-eval",
    "math 2": "math-2-eval",
    "code": "code-eval",
    "math 3": "math-3-eval",
}
GOALS = {
    "math mean gain": 15.0,
    "code mean gain": 25.0,
    "math least gain": 8.0,
    "code least gain": 15.0,
    "math over control": 5.0,
}
"""Points of held-out accuracy, from SFT to the end."""
MOST_SECONDS = 8 * 60
"""Of the first seed, which has the machine to itself; the control arms run beside the others."""


def main() -> int:
    """Run both arms, write the result; 1 where a goal is missed."""
    args = _arguments()
    # What is found there would be an earlier commit's work, in no time.
    shutil.rmtree(args.store, ignore_errors=True)
    with ThreadPoolExecutor(max_workers=1) as beside:
        arms: list[tuple[int, dict[str, Any], Future[dict[str, Any]]]] = []
        for seed in range(args.seeds):
            rl = rl_arm(seed, args.store)
            steps = rl["sftSteps"] + round(rl["rlSeconds"] / rl["sftSecondsPerStep"])
            print(f"seed {seed}: RL done in {rl['seconds']:.0f} s; control gets {steps} SFT steps")
            arms.append((seed, rl, beside.submit(control_arm, seed, steps, args.store)))
        seeds = [{"seed": s, "rl": rl, "control": control.result()} for s, rl, control in arms]
    figures = summary(seeds)
    result = {"machine": machine(), "seeds": seeds, "figures": figures, "goals": GOALS}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    missed = missed_goals(result)
    print(f"missed: {', '.join(missed)}" if missed else "every goal is met")
    return 1 if missed else 0


def rl_arm(seed: int, store: Path) -> dict[str, Any]:
    """The quickstart as it is."""
    here = store / f"seed-{seed}"
    seconds = acereason_run(FILE, here, *_seeds(seed), log=here / "rl.log")
    done = stages(here, "quickstart")
    sft = step_seconds(here, done["sft"])
    return {
        "seconds": round(seconds, 1),
        "sftSteps": len(sft),
        "sftSecondsPerStep": round(median(sft), 5),
        "rlSeconds": round(sum(sum(step_seconds(here, done[name])) for name in RL_STAGES), 1),
        "accuracy": {after: accuracies(here, done[name]) for after, name in EVALUATIONS.items()},
    }


def control_arm(seed: int, steps: int, store: Path) -> dict[str, Any]:
    """SFT alone, for longer."""
    here = store / f"seed-{seed}"
    file = control_file(here / "control.yaml")
    budget = f"stages.sft.sft.budget.steps={steps}"
    seconds = acereason_run(
        file, here, *_seeds(seed), "--set", budget, log=here / "control-run.log"
    )
    done = stages(here, "control")
    return {
        "seconds": round(seconds, 1),
        "sftSteps": steps,
        "accuracy": {"SFT": accuracies(here, done["sft-eval"])},
    }


def control_file(path: Path) -> Path:
    """The quickstart cut after SFT's evaluation, under another name."""
    document = load_run(FILE, [], []).document.data
    assert isinstance(document, dict)
    document["metadata"]["name"] = "control"
    kept = ("sft-data", "sft", "sft-eval")
    stages_ = [s for s in document["spec"]["stages"] if s["name"] in kept]
    document["spec"]["stages"] = _with_absolute_paths(stages_)
    document["spec"]["model"] = _with_absolute_paths(document["spec"]["model"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def _with_absolute_paths(value: Any, name: str = "") -> Any:
    """The same with every path below the quickstart's directory made absolute."""
    if isinstance(value, dict):
        return {k: _with_absolute_paths(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_absolute_paths(v, name) for v in value]
    if name in ("path", "config", "tokenizer") and isinstance(value, str):
        return str((FILE.parent / value).resolve())
    return value


def missed_goals(result: dict[str, Any]) -> list[str]:
    """What the result does not show."""
    figures = result["figures"]
    missed = [f"{name} {figures[name]:g}" for name, goal in GOALS.items() if figures[name] < goal]
    if figures["seconds alone"] > MOST_SECONDS:
        missed.append(f"{figures['seconds alone']:.0f} s are more than {MOST_SECONDS}")
    return missed


def summary(seeds: list[dict[str, Any]]) -> dict[str, float]:
    """Gains in points from SFT to the end, the end's lead over the control arm, and the seconds of
    the seed that ran alone."""
    gains = {kind: [_end(s, kind) - _start(s, kind) for s in seeds] for kind in ("math", "code")}
    leads = {kind: [_end(s, kind) - _control(s, kind) for s in seeds] for kind in ("math", "code")}
    return {
        "seconds alone": seeds[0]["rl"]["seconds"],
        **{f"{kind} mean gain": round(fmean(g), 1) for kind, g in gains.items()},
        **{f"{kind} least gain": round(min(g), 1) for kind, g in gains.items()},
        **{f"{kind} over control": round(fmean(x), 1) for kind, x in leads.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: accuracy after each stage, and the control arm."""
    columns = [*EVALUATIONS, "control"]
    head = ["seed", "set", *columns, "gain", "over control"]
    rows = []
    for s in result["seeds"]:
        for kind in ("math", "code"):
            cells = [_cell(s["rl"]["accuracy"][after][kind]) for after in EVALUATIONS]
            cells.append(_cell(s["control"]["accuracy"]["SFT"][kind]))
            gain, lead = _end(s, kind) - _start(s, kind), _end(s, kind) - _control(s, kind)
            rows.append([str(s["seed"]), kind, *cells, f"{gain:+.1f}", f"{lead:+.1f}"])
    figures = result["figures"]
    for kind in ("math", "code"):
        blank = [""] * len(columns)
        rows.append(
            [
                "mean",
                kind,
                *blank,
                f"{figures[f'{kind} mean gain']:+.1f}",
                f"{figures[f'{kind} over control']:+.1f}",
            ]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(a: dict[str, Any]) -> str:
    return f"{a['accuracy']:.1f}±{a['standardError']:.1f}"


def _start(seed: dict[str, Any], kind: str) -> float:
    return float(seed["rl"]["accuracy"]["SFT"][kind]["accuracy"])


def _end(seed: dict[str, Any], kind: str) -> float:
    return float(seed["rl"]["accuracy"]["math 3"][kind]["accuracy"])


def _control(seed: dict[str, Any], kind: str) -> float:
    return float(seed["control"]["accuracy"]["SFT"][kind]["accuracy"])


def _seeds(seed: int) -> list[str]:
    return ["--set", f"spec.seed={seed}", "--set", f"spec.model.fromConfig.seed={seed}"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quickstart",
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        epilog="example: python -m benchmarks.quickstart --seeds 1",
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("build/bench/quickstart"),
        help="directory for the runs; emptied first (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
