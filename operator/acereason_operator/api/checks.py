"""What must hold between the stages of a run: the rules that no single field can state."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acereason_operator.api.run import AceReasonRunSpec


def problems_of_stages(spec: "AceReasonRunSpec") -> list[tuple[str, str]]:
    """Every (path, sentence) that is wrong between stages; empty when all is well."""
    problems: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    for i, stage in enumerate(spec.stages):
        if stage.name in seen:
            problems.append((f"stages[{i}].name", f"{stage.name} is also stages["
                             f"{seen[stage.name]}]; stage names must be unique"))
        for need in stage.needs or []:
            if need not in seen:
                problems.append((f"stages[{i}].needs", f"{need} is not a stage above "
                                 f"{stage.name}; name one of: {', '.join(seen) or 'none'}"))
        seen.setdefault(stage.name, i)
    return problems
