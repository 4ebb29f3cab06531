"""What an RL stage draws besides its steps: the temperature probe and validation; and their curves.

Everything here happens between two optimizer steps, so a stop in the middle of it leaves the policy
at a completed step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from acereason_trainer.config.rl import RL
from acereason_trainer.rewards.protocol import Rewarder
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.rl.rollouts import Rollouts, collect
from acereason_trainer.rl.temperature import choose_temperature, probe
from acereason_trainer.rollout.protocol import Sampler, SamplingParams
from acereason_trainer.rollout.seeds import draw_seed
from acereason_trainer.telemetry.recorder import Recorder


@dataclass(frozen=True)
class Drawing:
    """Sampler, checker and recorder of one stage."""

    stage: RL
    sampler: Sampler
    rewarder: Rewarder
    recorder: Recorder
    name: tuple[str | int, ...]
    """First parts of the name of every draw: stage key and salt."""

    def responses(
        self, prompts: Sequence[Prompt], samples: int, temperature: float, *purpose: str | int
    ) -> Rollouts:
        """Draw and check `samples` responses for each prompt."""
        params = SamplingParams(temperature, 1.0, self.stage.max_response_tokens)
        return collect(
            prompts,
            samples,
            params,
            (*self.name, *purpose),
            self.sampler,
            self.rewarder,
            self.recorder,
        )

    def choose_temperature_once(self, state: Curriculum, prompts: Sequence[Prompt]) -> Curriculum:
        """With an entropy target: probe the stage's start checkpoint, before the first step."""
        target = self.stage.temperature.target_entropy
        if target is None or state.temperature is not None:
            return state
        chosen = first_by_name(prompts, target.prompts, (*self.name, "probe"))
        probes = probe(
            target,
            lambda temperature: self.responses(
                chosen, target.samples, temperature, "probe", f"{temperature:g}"
            ),
        )
        return state.model_copy(update={"temperature": choose_temperature(probes, target)})

    def validate_if_due(self, state: Curriculum, held_out: Sequence[Prompt]) -> Curriculum:
        """Accuracy on the validation problems, before the first step and every so many after."""
        settings = self.stage.validation
        if (
            settings is None
            or state.step % settings.every_steps
            or (state.validations and state.validations[-1].step == state.step)
        ):
            return state
        rollouts = self.responses(
            held_out, settings.samples, settings.temperature, "validation", state.step
        )
        shares = [fmean(r.reward for r in group) for group in rollouts.groups]
        stderr = stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else 0.0
        measured = Measured(step=state.step, accuracy=fmean(shares), stderr=stderr)
        return state.model_copy(update={"validations": [*state.validations, measured]})

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
        validation = (
            {"validation_accuracy": last.accuracy, "validation_stderr": last.stderr}
            if last and last.step == step - 1
            else {}
        )
        self.recorder.dump_rollouts(step, [(r.completion, r.grade) for r in rollouts.flat])
        self.recorder.record(
            step,
            {
                **metrics,
                **validation,
                "epoch": float(state.epoch),
                "temperature": state.temperature_now(self.stage),
                "prompts_left": float(prompts_left),
            },
        )


def first_by_name(
    prompts: Sequence[Prompt], number: int, name: tuple[str | int, ...]
) -> list[Prompt]:
    """`number` different prompts, chosen by the seed."""
    different = {p.id: p for p in prompts}.values()
    return sorted(different, key=lambda p: draw_seed(*name, p.id))[:number]
