"""All that the decisions on one stage look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from acereason_trainer.config.stage_file import StageInputs

from acereason_operator.api.run import AceReasonRun, Stage
from acereason_operator.planner import effective
from acereason_operator.planner.context import Context
from acereason_operator.planner.digests import spec_digest
from acereason_operator.planner.names import job_name
from acereason_operator.planner.observed import JobView, Phase
from acereason_operator.planner.recipe import Recipe


@dataclass(frozen=True)
class Scene:
    """One stage of one run at one moment."""

    run: AceReasonRun
    stage: Stage
    recipe: Recipe
    jobs: tuple[JobView, ...]
    """This stage's, of all attempts."""
    waits_for: str
    """Sentence on what it needs and is not done; empty when it may start."""
    inputs: StageInputs | None
    """None while a stage that it reads from is not done, and for a stage that is itself final."""
    no_room: Mapping[str, str]
    """See Observed."""
    now: datetime
    context: Context

    @property
    def suspended(self) -> bool:
        """Whether the spec holds it back."""
        return self.run.spec.suspend or self.stage.suspend

    @property
    def held_back(self) -> bool:
        """Whether a person wants it not to run now."""
        return self.suspended or self.stage.name in self.context.left_out

    @property
    def grace(self) -> timedelta:
        """Its grace period."""
        return effective.grace_period(self.run.spec, self.stage)

    @property
    def namespace(self) -> str:
        """The run's namespace."""
        return self.run.metadata.namespace or self.context.namespace

    @property
    def settings_digest(self) -> str:
        """Of the stage as the spec has it now."""
        return self.recipe.digests[self.stage.name]

    @property
    def spec_digest(self) -> str:
        """Of the stage and the defaults as the spec has them now."""
        return spec_digest(self.run.spec, self.stage, self.settings_digest)

    def job(self, name: str) -> JobView | None:
        """Its Job of that name, if it is there."""
        return next((j for j in self.jobs if j.name == name), None)

    def job_name(self, attempt: int, phase: Phase) -> str:
        """Name of the Job of one of its attempts."""
        meta = self.run.metadata
        return job_name(meta.name, meta.uid, self.stage.name, attempt, phase)
