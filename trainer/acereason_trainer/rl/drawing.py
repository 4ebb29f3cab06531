"""What an RL stage draws besides its steps: the temperature probe and validation; and their curves.

Everything here happens between two optimizer steps, so a stop in the middle of it leaves the policy
at a completed step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from acereason_trainer.config.rl import RL
from acereason_trainer.policy.flops import Machinery
from acereason_trainer.policy.protocol import Batch, Policy
from acereason_trainer.rl.batches import advantages_of
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.invariants import require_version
from acereason_trainer.rl.prompts import Problems, Prompt, first_by_name
from acereason_trainer.rl.rollouts import Means, Rollouts, collect
from acereason_trainer.rl.temperature import choose_temperature, is_vetoed, probe
from acereason_trainer.rl.work import work_of
from acereason_trainer.rollout.protocol import SamplingParams
from acereason_trainer.telemetry.log_line import say


@dataclass(frozen=True)
class Drawing:
    """Draws and checks for one stage."""

    stage: RL
    by: Means
    name: tuple[str | int, ...]
    """First parts of the name of every draw: stage key and salt."""
    machinery: Machinery
    """What draws and trains, for the metrics of its use."""
    beside_seconds: list[float] = field(default_factory=list)
    """In which a device drew what no step learns from, since the last row."""

    def push(self, policy: Policy) -> None:
        """Draw from these weights from now on; their version is what the policy itself counts."""
        with self.by.recorder.phase("push"):
            self.by.sampler.push(policy, version=policy.steps)

    def step(self, state: Curriculum, prompts: Sequence[Prompt]) -> Rollouts:
        """The responses of the next optimizer step.

        With dynamic sampling, groups without signal stay among them, and behind them stand those
        that were drawn in their place: as many further prompts of the epoch's order, until none is
        missing, the refills are used up or the epoch has no more.
        """
        require_version(self.by.sampler.version, state.step + 1)
        rollouts = self._step(state, state.next_prompts(prompts, self.stage, self.name))
        settings = self.stage.dynamic_sampling
        for refill in range(1, settings.max_refills + 1) if settings else ():
            with_signal = int(advantages_of(rollouts, self.stage).any(1).sum())
            left = state.prompts_after(len(rollouts.groups), prompts, self.stage, self.name)
            others = left[: max(self.stage.prompts_per_step - with_signal, 0)]
            if not others:
                break
            rollouts = rollouts.refilled_by(self._step(state, others, "refill", refill))
        with self.by.recorder.phase("push"):
            self.by.sampler.rest()
        return rollouts

    def _step(self, state: Curriculum, chosen: list[Prompt], *part: str | int) -> Rollouts:
        """Responses to these prompts, as the next step or a part of it."""
        return collect(
            chosen,
            state.group_size_now(self.stage),
            self._params(state.temperature_now(self.stage)),
            name=(*self.name, "rollout", state.step + 1, *part),
            expected=state.lengths,
            by=self.by,
        )

    def choose_temperature_once(self, state: Curriculum, prompts: Sequence[Prompt]) -> Curriculum:
        """With an entropy target: probe the stage's start checkpoint, before the first step."""
        target = self.stage.temperature.target_entropy
        if target is None or state.temperature is not None:
            return state
        chosen = first_by_name(prompts, target.prompts, (*self.name, "probe"))

        def draw(temperature: float) -> Rollouts:
            name = ("probe", f"{temperature:g}")
            return self._beside("probe", chosen, target.samples, temperature, name, state)

        probes = probe(target, draw)
        temperature = choose_temperature(probes, target)
        for p in probes:
            veto = ", costs too much reward" if is_vetoed(p, probes, target) else ""
            say(
                f"probe: temperature {p.temperature:g}, entropy {p.entropy:.4f}, "
                f"reward {p.reward:.4f}{veto}"
            )
        say(f"temperature {temperature:g} comes nearest to entropy {target.entropy:g}")
        return state.model_copy(update={"temperature": temperature, "probes": probes})

    def validate_if_due(self, state: Curriculum, problems: Problems) -> Curriculum:
        """Accuracy on the validation problems: before the first step, every so many after, and
        after the last one.

        Problems of which no response could be checked are left out.
        """
        settings = self.stage.validation
        if settings is None or state.measured is not None:
            return state
        at_the_end = state.finished(problems.prompts, self.stage)
        if state.step % settings.every_steps and not at_the_end:
            return state
        name, temperature = ("validation", state.step), settings.temperature
        rollouts = self._beside(
            "validate", problems.held_out, settings.samples, temperature, name, state
        )
        groups = zip(problems.held_out, rollouts.groups, strict=True)
        checked = {p.id: [r.reward for r in group if r.counted] for p, group in groups}
        scores = {problem: fmean(rewards) for problem, rewards in checked.items() if rewards}
        shares = list(scores.values())
        measured = Measured(
            step=state.step,
            accuracy=fmean(shares),
            stderr=stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else 0.0,
            scores=scores if self.stage.stop.plateau else {},
        )
        return state.model_copy(update={"validations": [*state.validations, measured]})

    def _beside(
        self,
        phase: str,
        prompts: Sequence[Prompt],
        samples: int,
        temperature: float,
        name: tuple[str | int, ...],
        state: Curriculum,
    ) -> Rollouts:
        """Responses that no step learns from, under a phase of their own and its wait."""
        rollouts = collect(
            prompts,
            samples,
            self._params(temperature),
            name=(*self.name, *name),
            expected=state.lengths,
            by=replace(self.by, drawing_phase=phase, checking_phase=f"{phase}_wait"),
        )
        self.beside_seconds.append(rollouts.drawing_seconds)
        return rollouts

    def _params(self, temperature: float) -> SamplingParams:
        return SamplingParams(temperature, 1.0, self.stage.max_response_tokens)

    def record(
        self,
        state: Curriculum,
        rollouts: Rollouts,
        batch: Batch,
        metrics: dict[str, float],
        prompts_left: int,
    ) -> None:
        """Write the curves of the step after `state`, and its rollouts where the stage asks for
        them."""
        step = state.step + 1
        target = self.stage.temperature.target_entropy
        dynamic = self.stage.dynamic_sampling is not None
        apart = self.by.sampler.probe_difference
        self.by.recorder.dump_rollouts(step, [(r.completion, r.grade) for r in rollouts.flat])
        self.by.recorder.record(
            step,
            {
                **metrics,
                **validation_metrics(state.measured),
                **({"entropy_target": target.entropy} if target else {}),
                "epoch": float(state.epoch),
                "temperature": state.temperature_now(self.stage),
                "prompts_left": float(prompts_left),
                **({"refills": float(len(rollouts.refills))} if dynamic else {}),
                **({} if apart is None else {"probe_difference": apart}),
            },
            work_of(rollouts, batch, self.machinery, beside_seconds=sum(self.beside_seconds)),
        )
        self.beside_seconds.clear()

    def record_end(self, state: Curriculum) -> None:
        """Write down what was measured of the weights that the last step led to."""
        if state.measured is not None:
            self.by.recorder.record_end(validation_metrics(state.measured))


def validation_metrics(measured: Measured | None) -> dict[str, float]:
    """One validation, where there was one."""
    if measured is None:
        return {}
    return {"validation_accuracy": measured.accuracy, "validation_stderr": measured.stderr}


def probe_metrics(state: Curriculum) -> dict[str, float]:
    """What the temperature was chosen from, where it was chosen: by candidate."""
    return {
        **({"temperature": state.temperature} if state.temperature else {}),
        **{f"probeEntropy/{p.temperature:g}": p.entropy for p in state.probes},
        **{f"probeReward/{p.temperature:g}": p.reward for p in state.probes},
    }
