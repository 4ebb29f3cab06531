"""The few forms of panel that both dashboards are made of, on the builders of Grafana's own SDK.

A panel has a sentence that says what is good, what is bad, and where to look then; a unit; and
limits where there are some: a line in graphs, a colour in numbers and tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WHOLE, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
"""Widths of panels; a dashboard is 24 wide."""
TALL, LOW = 8, 4

GREEN, AMBER, RED = "green", "orange", "red"
FRACTION, SECONDS, BYTES, NUMBER = "percentunit", "s", "bytes", "short"
TOKENS, TOKENS_PER_SECOND, NATS = "suffix: tokens", "suffix: tokens/s", "suffix: nats"
REQUESTS_PER_SECOND = "reqps"

Panel = timeseries.Panel | stat.Panel | table.Panel | bargauge.Panel


@dataclass(frozen=True)
class Series:
    """A query and the name of what it gives."""

    expr: str
    legend: str
    dashed: bool = False
    """For a target or a limit that others are held against."""


@dataclass(frozen=True)
class Limits:
    """From where on a value is worth a look, and from where on it is bad."""

    amber: float | None = None
    red: float | None = None
    low_is_bad: bool = False
    """Whether it is bad below them."""

    def thresholds(self) -> dashboard.ThresholdsConfig:
        """As Grafana has them: a colour from each value on."""
        if self.low_is_bad:
            above_red = GREEN if self.amber is None else AMBER
            first, then = RED, [(self.red, above_red), (self.amber, GREEN)]
        else:
            first, then = GREEN, [(self.amber, AMBER), (self.red, RED)]
        steps = [Threshold(None, first)]
        steps += [Threshold(value, colour) for value, colour in then if value is not None]
        return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


NO_LIMITS = Limits()


def lines(
    title: str,
    said: str,
    unit: str,
    *series: Series,
    width: int = THIRD,
    limits: Limits = NO_LIMITS,
    top: float | None = None,
) -> timeseries.Panel:
    """Curves over time. top: where the scale ends at least."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(said)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(TALL)
        .line_width(1)
        .fill_opacity(0)
        .show_points(VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .targets([_over_time(s, i) for i, s in enumerate(series)])
    )
    if limits != NO_LIMITS:
        panel = panel.thresholds(limits.thresholds()).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        )
    if top is not None:
        panel = panel.axis_soft_max(top)
    for i, s in enumerate(series):
        if s.dashed:
            dash = DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})
            panel = panel.override_by_query(_name(i), [dash])
    return panel


def stacked(
    title: str, said: str, unit: str, *series: Series, width: int = THIRD
) -> timeseries.Panel:
    """Parts of a whole over time."""
    return (
        lines(title, said, unit, *series, width=width)
        .fill_opacity(60)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    )


def number(
    title: str,
    said: str,
    unit: str,
    series: Series,
    *,
    width: int = SIXTH,
    limits: Limits = NO_LIMITS,
) -> stat.Panel:
    """The last value, large, with its course behind it."""
    return (
        stat.Panel()
        .title(title)
        .description(said)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(LOW)
        .thresholds(limits.thresholds())
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([_over_time(series, 0)])
    )


def bars(
    title: str, said: str, unit: str, series: Series, *, width: int = THIRD
) -> bargauge.Panel:  # fmt: skip
    """The last values side by side, from 0 to 1."""
    return (
        bargauge.Panel()
        .title(title)
        .description(said)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .max(1)
        .span(width)
        .height(TALL)
        .orientation(VizOrientation.HORIZONTAL)
        .thresholds(NO_LIMITS.thresholds())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([_now(series, PromQueryFormat.TIME_SERIES)])
    )


def listed(
    title: str,
    said: str,
    unit: str,
    series: Series,
    columns: Sequence[str],
    *,
    width: int = HALF,
    limits: Limits = NO_LIMITS,
    link: str | None = None,
) -> table.Panel:
    """A row for each series: these labels, and the value under the legend's name, if it has one.

    link: where a click on a run leads, as Grafana's data links have it.
    """
    names = [*columns, *([series.legend] if series.legend else [])]
    panel = (
        table.Panel()
        .title(title)
        .description(said)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(TALL)
        .thresholds(limits.thresholds())
        .targets([_now(series, PromQueryFormat.TABLE)])
        .transformations(
            [
                DataTransformerConfig(
                    "organize",
                    options={
                        "renameByName": {"Value": series.legend} if series.legend else {},
                        "indexByName": {
                            "Value" if n == series.legend else n: i for i, n in enumerate(names)
                        },
                    },
                ),
                DataTransformerConfig(
                    "filterFieldsByName", options={"include": {"names": list(names)}}
                ),
            ]
        )
    )
    if series.legend and limits != NO_LIMITS:
        colour = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
        panel = panel.override_by_name(series.legend, [colour])
    if link is not None:
        there = DynamicConfigValue("links", [{"title": "This run", "url": link}])
        panel = panel.override_by_name("run", [there])
    return panel


def variable(name: str, label: str, said: str, query: str) -> dashboard.QueryVariable:
    """A choice of one, several or all values of a label."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(said)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
    )


def board(uid: str, title: str, said: str, other: tuple[str, str]) -> dashboard.Dashboard:
    """An empty dashboard with the choice of a data source and a link to the other one.

    other: its uid and title.
    """
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(said)
        .tags(["acereason"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .link(
            dashboard.DashboardLink(other[1])
            .type(DashboardLinkType.LINK)
            .url(f"/d/{other[0]}")
            .icon("dashboard")
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )


def _over_time(series: Series, index: int) -> Dataquery:
    query = Dataquery().expr(series.expr).legend_format(series.legend).ref_id(_name(index))
    return query.range().datasource(SOURCE)


def _now(series: Series, form: PromQueryFormat) -> Dataquery:
    query = Dataquery().expr(series.expr).legend_format(series.legend).ref_id(_name(0))
    return query.instant().format(form).datasource(SOURCE)


def _name(index: int) -> str:
    """A, B, C, ..."""
    return chr(ord("A") + index)
