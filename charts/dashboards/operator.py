"""*Operator*: what a platform engineer watches, from who leads to what the verifier's pods hold."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from charts.dashboards.panels import (
    BYTES,
    HALF,
    NUMBER,
    QUARTER,
    REQUESTS_PER_SECOND,
    SECONDS,
    SIXTH,
    THIRD,
    Limits,
    Panel,
    Series,
    board,
    lines,
    listed,
    number,
    stacked,
    variable,
)

UID, TITLE = "acereason-operator", "AceReason / Operator"
HOME = 'namespace=~"$home"'
"""Series of the operator and the verifier: the namespace of their pods."""
RUNS = 'namespace=~"$namespace"'
"""Series of runs: the namespace of the run."""
STAGE = "{{namespace}}/{{run}} {{stage}}"


def operator(other: tuple[str, str]) -> Dashboard:
    """The dashboard; other: uid and title of the one that it links to."""
    said = (
        "The AceReason operator and its verifier: who leads, what waits, what fails, what it costs."
    )
    whole = board(UID, TITLE, said, other)
    for choice in (
        variable(
            "home",
            "Installation",
            "Namespaces in which the operator is installed.",
            "label_values(acereason_leader, namespace)",
        ),
        variable(
            "namespace",
            "Namespace",
            "Namespaces of runs.",
            "label_values(acereason_run_state, namespace)",
        ),
    ):
        whole = whole.with_variable(choice)
    for title, panels in rows(other[0]).items():
        whole = whole.with_row(Row(title))
        for panel in panels:
            whole = whole.with_panel(panel)
    return whole


def rows(runs_uid: str) -> dict[str, list[Panel]]:
    """Panels by the title of their row."""
    return {
        "Now": NOW,
        "Runs": [*RUN_STATES, _retries_left(runs_uid), *STAGES],
        "Queue": QUEUE,
        "API server": API,
        "Watches and lists": WATCHES,
        "Process": PROCESS,
        "Verifier": VERIFIER,
    }


def _quantile(q: float, histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    buckets = f"acereason_{histogram}_bucket{{{HOME}}}[$__rate_interval]"
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({buckets})))"


def _rate(counter: str, by: str, where: str = "") -> str:
    chosen = f"{HOME}, {where}" if where else HOME
    return f"sum by ({by}) (rate(acereason_{counter}{{{chosen}}}[$__rate_interval]))"


def _grown(counter: str, by: str) -> str:
    """How much a counter has grown in an hour: what is rare shows nothing as a rate."""
    return f"sum by ({by}) (increase(acereason_{counter}{{{HOME}}}[1h]))"


def _median_and_slowest(histogram: str, name: str = "", by: str = "") -> tuple[Series, Series]:
    return (
        Series(_quantile(0.5, histogram, by), f"{name} median".strip()),
        Series(_quantile(0.99, histogram, by), f"{name} 99 of 100".strip()),
    )


def _of_run(metric: str) -> str:
    return f"max by (namespace, run, stage) (acereason_run_stage_{metric}{{{RUNS}}})"


NOW: list[Panel] = [
    number(
        "Leaders",
        "Replicas that lead: 1. None for two minutes, or two, is an alert.",
        NUMBER,
        Series(f"sum(acereason_leader{{{HOME}}})", "leaders"),
        width=SIXTH,
        limits=Limits(red=1, low_is_bad=True),
    ),
    number(
        "Replicas",
        "Operators that answer Prometheus. One is enough to work, two to fail over in 20 s.",
        NUMBER,
        Series(f"count(acereason_leader{{{HOME}}})", "replicas"),
        width=SIXTH,
        limits=Limits(amber=2, red=1, low_is_bad=True),
    ),
    number(
        "Runs under way",
        "Runs that are neither done, failed nor suspended.",
        NUMBER,
        Series(
            f'sum(max by (state) (acereason_runs{{{HOME}, state!~"Complete|Failed|Suspended"}}))',
            "runs",
        ),
        width=SIXTH,
    ),
    number(
        "Runs that wait for a person",
        "Stalled: kubectl get arr says what keeps their pods from running.",
        NUMBER,
        Series(f'max(acereason_runs{{{HOME}, state="Stalled"}})', "runs"),
        width=SIXTH,
        limits=Limits(amber=1),
    ),
    number(
        "Runs in the queue",
        "Runs that wait for a worker. It should be empty most of the time.",
        NUMBER,
        Series(f"sum(acereason_workqueue_depth{{{HOME}}})", "runs"),
        width=SIXTH,
        limits=Limits(amber=50, red=500),
    ),
    number(
        "Alerts",
        "Alerts of this project that fire now.",
        NUMBER,
        Series(
            'count(ALERTS{alertname=~"AceReason.*", alertstate="firing"}) or vector(0)', "alerts"
        ),
        width=SIXTH,
        limits=Limits(amber=1),
    ),
]

RUN_STATES: list[Panel] = [
    stacked(
        "Runs by state",
        "All runs that there are. BackingOff and Stalled that grow together are one cause: a node "
        "pool, a registry, a volume.",
        NUMBER,
        Series(f"max by (state) (acereason_runs{{{HOME}}})", "{{state}}"),
    ),
    stacked(
        "Attempts that ended badly in an hour",
        "By who pays: user, infrastructure, configuration, input (corrupt), health; nobody, where "
        "a deadline of the run ended one.",
        NUMBER,
        Series(_grown("attempt_failures_total", "cause"), "{{cause}}"),
    ),
    stacked(
        "Stages that ended in an hour",
        "Complete, reused (an artifact with the same key was there) and failed ones.",
        NUMBER,
        Series(_grown("stage_ends_total", "kind, state"), "{{kind}} {{state}}"),
    ),
]


def _retries_left(runs_uid: str) -> Panel:
    return listed(
        "Retries left",
        "Further attempts of stages under way, by budget. 0: the next such end fails the run.",
        NUMBER,
        Series(
            "sort(max by (namespace, run, stage, budget)"
            f" (acereason_run_stage_retries_left{{{RUNS}}}))",
            "left",
        ),
        ["namespace", "run", "stage", "budget"],
        limits=Limits(amber=2, red=1, low_is_bad=True),
        link=f"/d/{runs_uid}?var-namespace=${{__data.fields.namespace}}"
        "&var-run=${__data.fields.run}&${__url_time_range}",
    )


STAGES: list[Panel] = [
    lines(
        "Time in wait for pods",
        "Since an attempt was decided until all its pods run: preparing, queues, room, images.",
        SECONDS,
        Series(f"time() - {_of_run('waiting_timestamp_seconds')}", STAGE),
        width=QUARTER,
    ),
    lines(
        "Time at the same step",
        "How long running stages have stood at their step. A curve that keeps rising is a stage "
        "that hangs.",
        SECONDS,
        Series(f"time() - {_of_run('progress_timestamp_seconds')}", STAGE),
        width=QUARTER,
        limits=Limits(amber=1800, red=3600),
    ),
    lines(
        "Duration of stages",
        "Median from a stage's first attempt to its completion, over the time shown.",
        SECONDS,
        Series(
            "histogram_quantile(0.5, sum by (le, kind) "
            f"(increase(acereason_stage_duration_seconds_bucket{{{HOME}}}[$__range])))",
            "{{kind}}",
        ),
    ),
    lines(
        "Published",
        "Bytes that stages published in an hour.",
        BYTES,
        Series(_grown("handoff_bytes_sum", "kind"), "{{kind}}"),
    ),
    lines(
        "Corrupt inputs in an hour",
        "Attempts that found an input which no longer matched its digest. Any is an alert: see its "
        "runbook.",
        NUMBER,
        Series(_grown("corrupt_artifacts_total", "kind"), "{{kind}}"),
        limits=Limits(red=1),
    ),
]

QUEUE: list[Panel] = [
    lines(
        "Depth of the queue",
        "Runs that wait for a worker, that workers have, and whose last reconcile failed.",
        NUMBER,
        Series(f"sum(acereason_workqueue_depth{{{HOME}}})", "waiting"),
        Series(f"sum(acereason_workqueue_working{{{HOME}}})", "working"),
        Series(f"sum(acereason_workqueue_retrying{{{HOME}}})", "failed last"),
        width=QUARTER,
    ),
    lines(
        "Wait in the queue",
        "From when something happened to a run until a worker has it.",
        SECONDS,
        *_median_and_slowest("workqueue_queue_duration_seconds"),
        width=QUARTER,
        limits=Limits(amber=1, red=10),
    ),
    lines(
        "Time of a reconcile",
        "Requests included. Slow ones are a slow API server, or writes that wait.",
        SECONDS,
        *_median_and_slowest("workqueue_work_duration_seconds"),
        width=QUARTER,
        limits=Limits(amber=1, red=10),
    ),
    stacked(
        "Reconciles",
        "By result. A conflict is looked at again at once; errors again and again are an alert.",
        REQUESTS_PER_SECOND,
        Series(_rate("reconcile_total", "result"), "{{result}}"),
        width=QUARTER,
    ),
]

API: list[Panel] = [
    stacked(
        "Requests to the API server",
        "By verb, watches aside. A finished or suspended run costs none.",
        REQUESTS_PER_SECOND,
        Series(_rate("api_requests_total", "verb"), "{{verb}}"),
        width=QUARTER,
    ),
    stacked(
        "Requests by answer",
        "409 is a conflict and looked at again. 429 and 5xx are the server's trouble; none: no "
        "answer came.",
        REQUESTS_PER_SECOND,
        Series(_rate("api_requests_total", "code"), "{{code}}"),
        width=QUARTER,
    ),
    lines(
        "Writes",
        "Writes per second, against settings.writesPerSecond.",
        REQUESTS_PER_SECOND,
        Series(
            _rate("api_requests_total", "namespace", 'verb=~"create|apply|write_status|delete"'),
            "{{namespace}}",
        ),
        width=QUARTER,
    ),
    lines(
        "Writes that wait",
        "For the operator's own rate limit. Seconds of it delay every decision: raise the limit if "
        "the server has room.",
        SECONDS,
        *_median_and_slowest("api_write_wait_seconds"),
        width=QUARTER,
        limits=Limits(amber=1, red=5),
    ),
]

WATCHES: list[Panel] = [
    lines(
        "Age of the last event",
        "Since a watch last told of anything. In a quiet cluster this grows, and nothing is wrong.",
        SECONDS,
        Series(
            f"max by (pod, resource) (acereason_watch_age_seconds{{{HOME}}})",
            "{{resource}} {{pod}}",
        ),
        width=QUARTER,
    ),
    lines(
        "Changes that no watch told of",
        "Age of the oldest one that a list found. Above 120 s a watch is dead; at 180 s liveness "
        "restarts the pod.",
        SECONDS,
        Series(f"max by (pod) (acereason_watch_undelivered_seconds{{{HOME}}})", "{{pod}}"),
        width=QUARTER,
        limits=Limits(amber=90, red=120),
    ),
    lines(
        "Lists in an hour",
        "Lists that correct the watches, every settings.relistSeconds and where one began anew.",
        NUMBER,
        Series(_grown("relists_total", "resource, result"), "{{resource}} {{result}}"),
        width=QUARTER,
    ),
    lines(
        "Corrections in an hour",
        "Runs that a list found something new for. A few: the list was faster than the watch; "
        "many mean that a watch is blind.",
        NUMBER,
        Series(_grown("relist_corrections_total", "resource"), "{{resource}}"),
        width=QUARTER,
    ),
    lines(
        "Objects in the cache",
        "What each replica holds.",
        NUMBER,
        Series(
            f"max by (resource) (acereason_cache_objects{{{HOME}}})",
            "{{resource}}",
        ),
        width=THIRD,
    ),
    stacked(
        "Reads of progress",
        "Of running stages, by result. Unreachable while a model is loaded is as it should be; all "
        "of them, always, is a NetworkPolicy.",
        REQUESTS_PER_SECOND,
        Series(_rate("progress_reads_total", "result"), "{{result}}"),
        width=THIRD,
    ),
    lines(
        "Changes of leader in an hour",
        "One without notice costs 15 to 20 s, and every run is looked at once.",
        NUMBER,
        Series(_grown("leader_transitions_total", "pod"), "{{pod}}"),
        width=THIRD,
    ),
]


def _of_operator(metric: str) -> str:
    """A series of the process, of the operator's pods alone."""
    return f"{metric}{{{HOME}}} and on (namespace, pod) acereason_leader"


PROCESS: list[Panel] = [
    lines(
        "Memory",
        "Resident memory of each replica, against operator.resources.limits.memory.",
        BYTES,
        Series(_of_operator("process_resident_memory_bytes"), "{{pod}}"),
    ),
    lines(
        "Cache",
        "Bytes of the cache, packed: what grows with runs, Jobs and Pods.",
        BYTES,
        Series(f"max by (resource) (acereason_cache_bytes{{{HOME}}})", "{{resource}}"),
    ),
    lines(
        "CPU",
        "Cores that each replica uses. One core is the most that a reconciler in Python can use.",
        NUMBER,
        Series(
            f"rate(process_cpu_seconds_total{{{HOME}}}[$__rate_interval])"
            " and on (namespace, pod) acereason_leader",
            "{{pod}}",
        ),
        limits=Limits(amber=0.8),
    ),
]

VERIFIER: list[Panel] = [
    lines(
        "Load",
        "Jobs that run, and (dashed) worker processes that are there for them.",
        NUMBER,
        Series(f"sum by (kind) (acereason_verifier_running_jobs{{{HOME}}})", "{{kind}} running"),
        Series(
            f"sum by (kind) (acereason_verifier_workers{{{HOME}}})", "{{kind}} workers", dashed=True
        ),
        width=QUARTER,
    ),
    lines(
        "Jobs in the queue",
        "Jobs that wait for a worker, in all pods.",
        NUMBER,
        Series(f"sum by (kind) (acereason_verifier_queue_jobs{{{HOME}}})", "{{kind}}"),
        width=QUARTER,
    ),
    lines(
        "Wait for a worker",
        "GPUs wait as long at the end of a step: scale on it.",
        SECONDS,
        *_median_and_slowest("verifier_queue_seconds", "{{kind}}", "kind"),
        width=QUARTER,
        limits=Limits(amber=10, red=60),
    ),
    lines(
        "Time of a job",
        "From the hand-over to the verdict. The slowest are programs that run into their limit.",
        SECONDS,
        *_median_and_slowest("verifier_seconds", "{{kind}}", "kind"),
        width=QUARTER,
    ),
    stacked(
        "Verdicts per second",
        "By kind and verdict. infra_error is the service's own failure.",
        REQUESTS_PER_SECOND,
        Series(_rate("verifier_verdicts_total", "kind, verdict"), "{{kind}} {{verdict}}"),
        width=HALF,
    ),
    lines(
        "Refused requests",
        "By status: 404 asks for tests and is as it should be, 429 is a full queue, 503 a pod that "
        "is being stopped.",
        REQUESTS_PER_SECOND,
        Series(_rate("verifier_rejected_total", "status"), "{{status}}"),
        width=QUARTER,
    ),
    lines(
        "Workers lost",
        "Worker processes that ended or were killed while checking, in an hour; math that takes "
        "too long is among them.",
        NUMBER,
        Series(_grown("verifier_workers_lost_total", "kind"), "{{kind}}"),
        width=QUARTER,
    ),
    lines(
        "Memory of the service",
        "Without its workers, which hold 50 MiB each and their program.",
        BYTES,
        Series(
            f"process_resident_memory_bytes{{{HOME}}}"
            " and on (namespace, pod) acereason_verifier_tests_bytes",
            "{{pod}}",
        ),
    ),
    lines(
        "Tests held",
        "Memory of uploaded tests, against verifier.settings.testsMib.",
        BYTES,
        Series(f"max by (pod) (acereason_verifier_tests_bytes{{{HOME}}})", "{{pod}}"),
    ),
    lines(
        "Walls missing",
        "Walls around model-written programs that a kernel lacks. Any is an alert.",
        NUMBER,
        Series(
            f"max by (pod, wall) (acereason_verifier_walls_missing{{{HOME}}})", "{{wall}} {{pod}}"
        ),
        limits=Limits(red=1),
    ),
]
