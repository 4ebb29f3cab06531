"""What an RL stage draws besides its steps: the temperature probe and validation; and their curves.

Everything here happens between two optimizer steps, so a stop in the middle of it leaves the policy
at a completed step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from acereason_trainer.config.rl import RL
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rl.rollouts import Means, Rollouts, collect
from acereason_trainer.rl.temperature import choose_temperature, probe
from acereason_trainer.rollout.protocol import SamplingParams
from acereason_trainer.rollout.seeds import draw_seed
from acereason_trainer.telemetry.recorder import Recorder


@dataclass(frozen=True)
class Drawing:
    """Draws and checks for one stage."""

    stage: RL
    by: Means
    name: tuple[str | int, ...]
    """First parts of the name of every draw: stage key and salt."""

    @property
    def recorder(self) -> Recorder:
        """Where curves go."""
        return self.by.recorder

    def push(self, policy: Policy, version: int) -> None:
        """Draw from these weights from now on."""
        with self.recorder.phase("push"):
            self.by.sampler.push(policy, version=version)

    def step(self, state: Curriculum, prompts: Sequence[Prompt]) -> Rollouts:
        """The responses of the next optimizer step."""
        return collect(
            state.next_prompts(prompts, self.stage, self.name),
            state.group_size_now(self.stage),
            self._params(state.temperature_now(self.stage)),
            name=(*self.name, "rollout", state.step + 1),
            expected=state.lengths,
            by=self.by,
        )

    def choose_temperature_once(self, state: Curriculum, prompts: Sequence[Prompt]) -> Curriculum:
        """With an entropy target: probe the stage's start checkpoint, before the first step."""
        target = self.stage.temperature.target_entropy
        if target is None or state.temperature is not None:
            return state
        chosen = first_by_name(prompts, target.prompts, (*self.name, "probe"))
        by = replace(self.by, drawing_phase="probe", checking_phase="probe")

        def draw(temperature: float) -> Rollouts:
            name = (*self.name, "probe", f"{temperature:g}")
            return collect(
                chosen,
                target.samples,
                self._params(temperature),
                name=name,
                expected=state.lengths,
                by=by,
            )

        probes = probe(target, draw)
        for p in probes:
            print(
                f"probe: temperature {p.temperature:g}, entropy {p.entropy:.4f}, "
                f"reward {p.reward:.4f}"
            )
        return state.model_copy(update={"temperature": choose_temperature(probes, target)})

    def validate_if_due(self, state: Curriculum, held_out: Sequence[Prompt]) -> Curriculum:
        """Accuracy on the validation problems, before the first step and every so many after.

        Problems of which no response could be checked are left out.
        """
        settings = self.stage.validation
        if (
            settings is None
            or state.step % settings.every_steps
            or (state.validations and state.validations[-1].step == state.step)
        ):
            return state
        rollouts = collect(
            held_out,
            settings.samples,
            self._params(settings.temperature),
            name=(*self.name, "validation", state.step),
            expected=state.lengths,
            by=replace(self.by, drawing_phase="validate", checking_phase="validate"),
        )
        checked = [[r.reward for r in group if r.counted] for group in rollouts.groups]
        shares = [fmean(rewards) for rewards in checked if rewards]
        stderr = stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else 0.0
        measured = Measured(step=state.step, accuracy=fmean(shares), stderr=stderr)
        return state.model_copy(update={"validations": [*state.validations, measured]})

    def _params(self, temperature: float) -> SamplingParams:
        return SamplingParams(temperature, 1.0, self.stage.max_response_tokens)

    def record(
        self,
        step: int,
        state: Curriculum,
        rollouts: Rollouts,
        metrics: dict[str, float],
        prompts_left: int,
    ) -> None:
        """Write the step's curves, and its rollouts where the stage asks for them."""
        last = state.validations[-1] if state.validations else None
        validation = validation_metrics(state) if last and last.step == step - 1 else {}
        target = self.stage.temperature.target_entropy
        self.recorder.dump_rollouts(step, [(r.completion, r.grade) for r in rollouts.flat])
        self.recorder.record(
            step,
            {
                **metrics,
                **validation,
                **({"entropy_target": target.entropy} if target else {}),
                "epoch": float(state.epoch),
                "temperature": state.temperature_now(self.stage),
                "prompts_left": float(prompts_left),
            },
        )


def validation_metrics(state: Curriculum) -> dict[str, float]:
    """The last validation, where there was one."""
    if not state.validations:
        return {}
    last = state.validations[-1]
    return {"validation_accuracy": last.accuracy, "validation_stderr": last.stderr}


def first_by_name(
    prompts: Sequence[Prompt], number: int, name: tuple[str | int, ...]
) -> list[Prompt]:
    """`number` different prompts, chosen by the seed."""
    different = {p.id: p for p in prompts}.values()
    return sorted(different, key=lambda p: draw_seed(*name, p.id))[:number]
