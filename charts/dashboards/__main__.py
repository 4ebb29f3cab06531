"""Writes the dashboards into the chart: `python -m charts.dashboards`, from the root."""

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from charts.dashboards import operator, runs

FOLDER = Path("charts/acereason-operator/files/dashboards")


def generated() -> dict[Path, str]:
    """Text of each file, by its path in the repository."""
    boards = {
        "runs": runs.runs(other=(operator.UID, operator.TITLE)),
        "operator": operator.operator(other=(runs.UID, runs.TITLE)),
    }
    return {FOLDER / f"{name}.json": _text(board) for name, board in boards.items()}


def _text(board: Dashboard) -> str:
    built = board.build()
    # Links to a panel and alerts on it need a number that stays.
    for i, panel in enumerate(built.panels or [], start=1):
        panel.id_val = i
    return json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
