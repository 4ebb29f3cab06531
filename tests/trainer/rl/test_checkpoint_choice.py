"""The weights of the best validation are what is published, whatever happened on the way."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.states import OpenState
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.rl import MathRL
from acereason_trainer.dataset import Row, problem_id
from acereason_trainer.policy.making import make_policy
from acereason_trainer.rl.checkpoint_choice import BestWeights, choice_record
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.prompts import Prompt, split
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.recorder import read_metrics
from made_up_rollouts import a_recorder
from pydantic import ValidationError

from tests.stage_attempts import a_stage, attempt, begun, failure, published, write_rows
from tests.trainer.test_exact_resume import KEY, outcome, stopped_again_and_again

pytestmark = pytest.mark.usefixtures("importable_rewards")

SETTINGS = {
    "optimizer": {"learningRate": 1e-2},
    "promptsPerStep": 3,
    "groupSize": {"fixed": 4},
    "maxResponseTokens": 16,
    "temperature": {"fixed": 1.0},
    "stop": {"steps": 5},
    "reward": {"function": "tests.trainer.letters:has_an_early_letter"},
    "validation": {"everySteps": 2, "samples": 3, "heldOutShare": 0.5},
    "checkpoint": "best",
    "sequencesPerBatch": 12,
    "prompting": {"template": "plain"},
    "loading": {"dtype": "float32"},
    "saving": {"minutesAtRisk": 0},
    "verifier": {"workers": 1},
}
WANTED = {"function": "tests.trainer.letters:has_what_the_row_wants"}
OTHER_KEY = f"mathRL-{'e' * 32}"
ROWS = [{"problem": f"How much is {n} + {n}?", "answer": str(2 * n)} for n in range(14)]


def a_math_stage(
    store: Path,
    model: Path,
    run: str = "run",
    inputs: Mapping[str, Path] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    data = write_rows(store / "rows.jsonl", ROWS)
    told = {"mathRL": {**SETTINGS, **settings}}
    return a_stage(store, told, run=run, key=KEY, model=model, data=data, **(inputs or {}))


def choice(stage: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((published(stage)[1] / "choice.json").read_text())
    return said


def manifest_of(stage: dict[str, Any]) -> Any:
    store = DirectoryStore(Path(stage["store"]))
    artifact = store.lookup(KEY)
    assert artifact is not None
    return store.manifest(artifact.uri)


def test_the_published_weights_are_those_of_the_best_validation(
    tmp_path: Path, tiny_model: Path
) -> None:
    """The validation problems want what training unlearns after its first steps."""
    others = [{**row, "wants_none": 1} for row in ROWS[:6]]
    validation = write_rows(tmp_path / "validation.jsonl", others)
    stage = a_math_stage(
        tmp_path / "store",
        tiny_model,
        reward=WANTED,
        validation={"everySteps": 2, "samples": 3},
        inputs={"validation": validation},
    )
    assert attempt(stage) == ExitCode.DONE
    said = choice(stage)
    assert [v["step"] for v in said["validations"]] == [0, 2, 4, 5], "after the last step too"
    best = max(said["validations"], key=lambda v: v["accuracy"])
    assert said["chosen"] == ["checkpoint"]
    assert said["problems"] == sorted(problem_id(row["problem"]) for row in others)
    manifest = manifest_of(stage)
    assert manifest.step == said["step"] == best["step"]
    assert manifest.metrics["validation_accuracy"] == best["accuracy"]
    card = (published(stage)[1] / "README.md").read_text()
    assert "chose its checkpoint by validation_accuracy" in card
    curve = read_metrics(published(stage)[1] / "metrics.jsonl")
    earned = [row["reward"] or 0.0 for row in curve[: best["step"]]]
    assert manifest.metrics["reward"] == pytest.approx(fmean(earned)), "of the steps up to it"
    assert len({row["reward"] for row in curve[:5]}) > 1, "or else any steps would do"
    assert 0 < best["step"] < 5, "or else the first or the last weights would do"
    until = {"checkpoint": "last", "validation": None, "stop": {"steps": best["step"]}}
    shorter = a_math_stage(tmp_path / "shorter", tiny_model, reward=WANTED, **until)
    assert attempt(shorter) == ExitCode.DONE
    assert published(shorter)[0] == published(stage)[0]
    work_dir = Path(stage["store"]) / "work" / "run" / "stage" / "1"
    assert list((work_dir / "best").iterdir()) == [], "they are published"


def test_the_best_of_rising_validations_is_the_last(tmp_path: Path, tiny_model: Path) -> None:
    """Learned from a pool whose held-out half is never trained on."""
    rollouts = {"telemetry": {"dumpRolloutsEvery": 1}}
    stage = a_math_stage(tmp_path / "best", tiny_model, **rollouts)
    last = a_math_stage(tmp_path / "last", tiny_model, checkpoint="last")
    assert attempt(stage) == attempt(last) == ExitCode.DONE
    said = choice(stage)
    assert said["validations"][-1]["accuracy"] > said["validations"][0]["accuracy"]
    assert published(stage)[0] == published(last)[0]
    assert not (published(last)[1] / "choice.json").exists(), "nothing was chosen"
    ends = [read_metrics(published(s)[1] / "metrics.jsonl")[-1] for s in (stage, last)]
    assert ends[0] == ends[1], "both are measured at their end, and their curves show it"
    assert ends[1].keys() == {"step", "validation_accuracy", "validation_stderr"}
    assert ends[1]["step"] == 6
    assert manifest_of(last).metrics["validation_accuracy"] == ends[1]["validation_accuracy"]
    held_out = set(said["problems"])
    trained = {
        json.loads(line)["promptId"]
        for file in (Path(stage["store"]) / "work/run/stage/1/rollouts").iterdir()
        for line in file.read_text().splitlines()
    }
    assert held_out
    assert trained
    assert not held_out & trained


@pytest.mark.slow
def test_whoever_goes_on_finds_the_best_weights_of_an_attempt_before(
    tmp_path: Path, tiny_model: Path
) -> None:
    """About 20 s of CPU. Dynamic sampling, importance weights, a held-out share and detectors take
    part: what they remember is in the state."""
    settings = {
        "dynamicSampling": {"maxRefills": 2},
        "loss": {"importanceCap": 2},
        "health": {"window": 2, "maxTruncatedShare": 0.01, "goOn": ["reward", "truncation"]},
        "stop": {"steps": 4},
        "validation": {"everySteps": 1, "samples": 3, "heldOutShare": 0.3},
    }
    stage = a_math_stage(tmp_path / "stopped", tiny_model, "another-name", **settings)
    stage = stopped_again_and_again(stage, tmp_path / "stopped", 60)
    straight = a_math_stage(tmp_path / "straight", tiny_model, "straight", **settings)
    assert attempt(straight) == ExitCode.DONE
    assert outcome(stage) == outcome(straight)
    assert choice(stage) == choice(straight)
    assert any(row.get("refills") for row in outcome(stage)[1]), "no step was refilled"
    best_of_any_attempt = (tmp_path / "stopped" / "work").glob("*/stage/*/best/*")
    assert list(best_of_any_attempt) == []


DAMAGE: dict[str, Callable[[Path], None]] = {
    "gone": shutil.rmtree,
    "one byte": lambda best: flipped(best / "model.safetensors"),
}


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_best_weights_that_are_damaged_or_gone_give_way_to_the_next_best(
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:
    """The best are those of step 4, then those of step 2, then the present ones: those of step 3
    were worse and never written, those before step 2 are dropped."""
    context, stage = begun(a_math_stage(tmp_path, tiny_model)), MathRL.parse(SETTINGS)
    policy = make_policy(context, stage, None)
    with a_recorder(context.work_dir) as recorder:
        best, state = BestWeights(context, recorder), Curriculum()
        for step, accuracy in enumerate((0.1, 0.2, 0.4, 0.3, 0.5, 0.1)):
            seen = [*state.validations, Measured(step=step, accuracy=accuracy, stderr=0.1)]
            state = state.model_copy(update={"step": step, "validations": seen})
            state = best.kept(state, stage, policy)
            if step == 2:
                a_state_of(context, state)
        for step, taken, lost in ((4, 2, [4]), (2, 5, [0, 1, 2, 3, 4])):
            place = context.work_dir / "best" / f"{step:08d}"
            whole, published = best.published(state, stage)
            assert (whole.lost, published.step) == (state.lost, step)
            damage(place)
            after, published = best.published(state, stage)
            assert f"best/{step:08d} is corrupt" in capsys.readouterr().err
            assert (sorted(after.lost), published.step) == (lost, taken)
            record = json.loads(choice_record(stage, after, published, [])["choice.json"])
            assert (record["lost"], record["step"]) == (lost, taken)
            state = after
        assert published.place is None
        assert published.measured == state.validations[-1]


def a_state_of(context: StageContext, state: Curriculum) -> None:
    """A saved state from which an attempt could go on, which needs the best weights of then."""
    opened = OpenState(context.work_dir, context.prepared.key, state.step + 1, salt=0)
    (opened.directory / "loop.json").write_text(json.dumps(state.dump()))
    opened.commit(hash_tree(opened.directory))


def test_a_validation_that_is_better_than_all_that_is_left_is_kept(
    tmp_path: Path, tiny_model: Path
) -> None:
    context, stage = begun(a_math_stage(tmp_path, tiny_model)), MathRL.parse(SETTINGS)
    policy = make_policy(context, stage, None)
    with a_recorder(context.work_dir) as recorder:
        best = BestWeights(context, recorder)
        state = best.kept(validated(0), stage, policy)
        shutil.rmtree(context.work_dir / "best" / "00000000")
        seen = [*state.validations, Measured(step=2, accuracy=0.4, stderr=0.1)]
        state = state.model_copy(update={"step": 2, "validations": seen})
        state = best.kept(state, stage, policy)
        assert (state.lost, Path(state.best_weights or "").name) == ([0], "00000002")
        _, published = best.published(state.model_copy(update={"step": 3}), stage)
        best.export(published.place or "")(context.work_dir / "export")
    assert (context.work_dir / "export" / "model.safetensors").exists()
    assert not (context.work_dir / "export" / "manifest.json").exists()


def test_best_weights_that_no_state_goes_on_from_are_dropped(
    tmp_path: Path, tiny_model: Path
) -> None:
    context, stage = begun(a_math_stage(tmp_path, tiny_model)), MathRL.parse(SETTINGS)
    policy = make_policy(context, stage, None)
    with a_recorder(context.work_dir) as recorder:
        best, states = BestWeights(context, recorder), []
        for step in (0, 2, 4):
            states.append(best.kept(validated(step), stage, policy))
            if step == 2:
                a_state_of(context, states[-1])
    left = sorted(p.name for p in (context.work_dir / "best").iterdir())
    assert left == ["00000002", "00000004"], "the state of step 3 goes on from those of step 2"


def test_best_weights_are_kept_whatever_states_of_other_work_name(
    tmp_path: Path, tiny_model: Path
) -> None:
    """An edit gives a stage another key; its states of before stay where they are."""
    context, stage = begun(a_math_stage(tmp_path, tiny_model)), MathRL.parse(SETTINGS)
    edited = replace(context, prepared=context.prepared.model_copy(update={"key": OTHER_KEY}))
    policy = make_policy(context, stage, None)
    with a_recorder(context.work_dir) as recorder:
        earlier = BestWeights(context, recorder)
        a_state_of(context, [earlier.kept(validated(n), stage, policy) for n in (1, 8)][-1])
        best = BestWeights(edited, recorder)
        kept = [best.kept(validated(step), stage, policy) for step in (0, 2)]
        assert [state.lost for state in kept] == [[], []]
        a_state_of(edited, kept[1])
        best.kept(validated(9), stage, policy)
    left = sorted(p.name for p in (context.work_dir / "best").iterdir())
    assert left == ["00000001", "00000002", "00000008", "00000009"]


def test_best_weights_that_another_attempt_still_writes_are_left_to_it(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains on where nobody could end it."""
    context, stage = begun(a_math_stage(tmp_path, tiny_model)), MathRL.parse(SETTINGS)
    policy, disk = make_policy(context, stage, None), os.rmdir
    half = context.work_dir / "best" / ".00000007-another"
    half.mkdir(parents=True)

    def rmdir(path: str, *rest: Any, **more: Any) -> None:
        if Path(path).name == half.name:
            (half / "model.safetensors").touch()
        disk(path, *rest, **more)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with a_recorder(context.work_dir) as recorder:
        best = BestWeights(context, recorder)
        assert best.kept(validated(0), stage, policy).best_weights is not None
        best.forget()
    assert [p.name for p in (context.work_dir / "best").iterdir()] == [half.name]


def validated(step: int) -> Curriculum:
    """A state whose last validation, at its own step, is the best."""
    return Curriculum(step=step, validations=[Measured(step=step, accuracy=0.5, stderr=0.1)])


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.2, 0.5, 0.5, 0.4], 1), ([0.3], 0), ([0.1, 0.2], 1)]
)
def test_the_best_is_the_highest_and_of_equals_the_first(
    accuracies: list[float], best: int
) -> None:
    seen = [Measured(step=i, accuracy=a, stderr=0.1) for i, a in enumerate(accuracies)]
    assert Curriculum(validations=seen).best == seen[best]
    assert Curriculum().best is None


def test_the_best_is_found_by_validation_alone() -> None:
    with pytest.raises(ValidationError, match="the best checkpoint is found by validation"):
        MathRL.parse({"checkpoint": "best"})


@pytest.mark.parametrize(
    ("share", "inputs", "said"),
    [
        (1e-9, {}, "holds out 0"),
        (0.5, {"validation": True}, "remove one of them"),
        (None, {}, "give inputs.validation, or validation.heldOutShare"),
    ],
)
def test_problems_to_validate_on_are_asked_for_in_a_sentence(
    tmp_path: Path, tiny_model: Path, share: float | None, inputs: dict[str, bool], said: str
) -> None:
    given = {name: write_rows(tmp_path / "v.jsonl", ROWS[:2]) for name in inputs}
    validation = {"everySteps": 1, **({"heldOutShare": share} if share else {})}
    stage = a_math_stage(tmp_path, tiny_model, validation=validation, inputs=given)
    assert attempt(stage) == ExitCode.BAD_CONFIGURATION
    assert said in failure(stage)["message"]


def test_stages_with_one_share_hold_out_the_same_problems(tmp_path: Path, tiny_model: Path) -> None:
    """A later stage trains on fewer of them; what is held out of those was held out before."""
    all_of_them = begun(a_math_stage(tmp_path / "a", tiny_model))
    whole = [Prompt(Row(r["problem"], r), (1,)) for r in ROWS]
    trained, held_out = split(whole, 0.5, all_of_them)
    fewer, still_out = split(whole[::2], 0.5, all_of_them)
    assert {p.id for p in still_out} < {p.id for p in held_out}
    assert {p.id for p in fewer} < {p.id for p in trained}
