"""The cache: what it believes, in whatever order it is told."""

import copy
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from acereason_operator.cluster import labels
from acereason_operator.cluster.protocol import JOB, POD, RUN, Kind, Listing, Object
from acereason_operator.cluster.views import run_of
from acereason_operator.runtime.seen import Seen
from hypothesis import given
from hypothesis import strategies as st
from jumping_time import in_jumping_time

KEY = ("default", "r")


def an_object(kind: Kind, name: str, version: int, uid: str = "", **more: Any) -> Object:
    whole: Object = {
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels.of_phase("r", "sft", 1, "Train") if kind != RUN else {},
            "creationTimestamp": "2026-01-31T12:00:00Z",
        },
        "spec": {},
        "status": {},
    }
    for path, value in more.items():
        whole[path] = {**whole[path], **value}
    return whole


def a_run(version: int, **status: Any) -> Object:
    return an_object(RUN, "r", version, status=status)


def a_job(version: int, **spec: Any) -> Object:
    owned = {"ownerReferences": [{"uid": "uid-r", "controller": True}]}
    return an_object(JOB, "j", version, spec=spec, metadata=owned)


def a_pod(version: int, name: str = "p", **status: Any) -> Object:
    owned = {"ownerReferences": [{"uid": "uid-j", "controller": True}]}
    return an_object(POD, name, version, status=status, metadata=owned)


def seen() -> Seen:
    return Seen(run_of)


def listed(cache: Seen, kind: Kind, listing: Listing, namespace: str | None = None) -> Any:
    """The cache takes a list of one page; the loop's time is 0."""

    async def pages() -> AsyncIterator[Listing]:
        yield listing

    return in_jumping_time(cache.take_all(kind, namespace, pages()))


def step_of(cache: Seen) -> Any:
    run = cache.run(KEY)
    return None if run is None else run["status"].get("step")


def test_an_older_form_of_an_object_is_ignored() -> None:
    cache = seen()
    assert cache.take(RUN, a_run(5, step=5)) == KEY
    assert cache.take(RUN, a_run(4, step=4)) is None
    assert cache.take(RUN, a_run(5, step=5)) is None
    assert step_of(cache) == 5


def test_an_object_that_was_deleted_does_not_come_back_by_old_news() -> None:
    cache = seen()
    cache.take(RUN, a_run(5))
    assert cache.take_deletion(RUN, a_run(7)) == KEY
    assert cache.take(RUN, a_run(6)) is None
    assert cache.run(KEY) is None


def test_a_deletion_that_comes_late_does_not_remove_a_new_object_of_the_same_name() -> None:
    cache = seen()
    cache.take(RUN, a_run(5))
    new = an_object(RUN, "r", 9, uid="uid-new")
    assert cache.take(RUN, new) == KEY
    assert cache.take_deletion(RUN, a_run(7)) is None
    run = cache.run(KEY)
    assert run is not None and run["metadata"]["uid"] == "uid-new"


def test_what_nobody_looks_at_is_no_news() -> None:
    cache = seen()
    cache.take(JOB, a_job(1))
    busy = a_job(2)
    busy["status"] = {"active": 3, "ready": 1}
    busy["metadata"]["managedFields"] = [{"manager": "x"}]
    assert cache.take(JOB, busy) is None
    (job,) = cache.jobs(a_run(1))
    assert job["metadata"]["resourceVersion"] == "2", "a write needs the newest version"


def test_a_strangers_object_is_not_kept() -> None:
    cache, stranger = seen(), a_job(1)
    stranger["metadata"]["labels"] = {"app": "x"}
    assert cache.take(JOB, stranger) is None
    assert cache.count(JOB) == 0


def test_jobs_of_an_earlier_run_of_the_same_name_are_not_this_runs() -> None:
    cache = seen()
    cache.take(JOB, a_job(1))
    assert cache.jobs(an_object(RUN, "r", 2, uid="uid-new")) == []
    assert len(cache.jobs(a_run(1))) == 1


def test_a_list_removes_what_is_not_in_it_and_keeps_what_is_newer_than_it() -> None:
    cache = seen()
    cache.take(POD, a_pod(5, "old"))
    cache.take(POD, a_pod(12, "made-since"))
    changed = listed(cache, POD, Listing((a_pod(8, "found"),), "10"))
    assert changed == {KEY}
    names = {p["metadata"]["name"] for p in cache.pods(KEY, a_job(1))}
    assert names == {"found", "made-since"}


def test_an_object_that_was_not_found_once_comes_back_with_the_next_list_though_unchanged() -> None:
    """Its kind was away for a moment: a definition that was put in its place again."""
    cache = seen()
    cache.take(RUN, a_run(5, step=5))
    cache.take_absence(RUN, KEY, 5)
    assert listed(cache, RUN, Listing((a_run(5, step=5),), "4")) == set(), "an older list"
    assert listed(cache, RUN, Listing((a_run(5, step=5),), "9")) == {KEY}
    assert step_of(cache) == 5


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    cache = seen()
    elsewhere = a_run(3)
    elsewhere["metadata"]["namespace"] = "other"
    cache.take(RUN, elsewhere)
    listed(cache, RUN, Listing((), "10"), "default")
    assert cache.run(("other", "r")) is not None


def test_a_pod_that_is_deleted_stays_as_evidence_until_its_job_goes() -> None:
    cache = seen()
    cache.take(JOB, a_job(1))
    cache.take(POD, a_pod(2, phase="Running"))
    taken = a_pod(4, phase="Running", conditions=[{"type": "DisruptionTarget", "status": "True"}])
    assert cache.take_deletion(POD, taken) == KEY
    (pod,) = cache.pods(KEY, a_job(1))
    assert pod["status"]["phase"] == "Failed", "what is gone has ended"
    assert pod["status"]["conditions"][0]["type"] == "DisruptionTarget"
    cache.take_deletion(JOB, a_job(6))
    assert cache.count(POD) == 0


def test_pods_that_a_queue_took_back_are_no_evidence() -> None:
    cache = seen()
    cache.take(JOB, a_job(1))
    cache.take(POD, a_pod(2, phase="Running"))
    cache.take_deletion(POD, a_pod(4, phase="Running"))
    cache.take(JOB, a_job(5, suspend=True))
    cache.take(JOB, a_job(6, suspend=False))
    assert cache.pods(KEY, a_job(6)) == []


def test_a_pod_of_an_earlier_admission_that_goes_late_is_no_evidence() -> None:
    """Its deletion was asked for before, however long its grace period lasts."""
    cache, job = seen(), a_job(1)
    job["status"] = {"startTime": "2026-01-31T13:00:00Z"}
    cache.take(JOB, job)
    old = a_pod(2, phase="Running")
    old["metadata"]["deletionTimestamp"] = "2026-01-31T13:30:00Z"
    old["metadata"]["deletionGracePeriodSeconds"] = 3600
    cache.take_deletion(POD, old)
    assert cache.pods(KEY, job) == []


def test_a_job_that_is_let_go_has_no_evidence_until_its_controller_takes_note() -> None:
    cache, job = seen(), a_job(1, suspend=False)
    job["status"] = {"conditions": [{"type": "Suspended", "status": "True"}]}
    cache.take(JOB, job)
    cache.take_deletion(POD, a_pod(2, phase="Failed"))
    assert cache.pods(KEY, job) == []


def test_a_deletion_that_we_asked_for_is_seen_at_once() -> None:
    cache = seen()
    cache.take(JOB, a_job(1))
    cache.ask_deleted(JOB, ("default", "j"), datetime(2026, 1, 31, 12, tzinfo=UTC))
    (job,) = cache.jobs(a_run(1))
    assert job["metadata"]["deletionTimestamp"] == "2026-01-31T12:00:00Z"


def test_a_change_that_only_a_list_has_told_of_ages_until_a_watch_tells() -> None:
    cache = seen()
    cache.take(RUN, a_run(5), streamed=True)
    listed(cache, RUN, Listing((a_run(8, step=1),), "9"))
    assert cache.undelivered_for(300.0) == 300.0
    listed(cache, RUN, Listing((a_run(8, step=1),), "12"))
    assert cache.undelivered_for(400.0) == 400.0, "finding it again does not make it younger"
    cache.take(RUN, a_run(8, step=1), streamed=True)
    assert cache.undelivered_for(600.0) == 0.0


def test_a_watch_that_tells_of_later_things_has_told_of_the_earlier_ones() -> None:
    cache = seen()
    listed(cache, JOB, Listing((a_job(5),), "9"))
    cache.take(JOB, an_object(JOB, "other", 11), streamed=True)
    assert cache.undelivered_for(60.0) == 0.0


def test_where_each_namespace_has_a_watch_one_says_nothing_about_another() -> None:
    """The watch of one namespace is dead, and that of a busy one is not."""
    cache, elsewhere = Seen(run_of, ["default", "busy"]), an_object(JOB, "other", 11)
    elsewhere["metadata"]["namespace"] = "busy"
    listed(cache, JOB, Listing((a_job(5),), "9"), "default")
    cache.take(JOB, elsewhere, streamed=True)
    assert cache.undelivered_for(60.0) == 60.0
    cache.take(JOB, an_object(JOB, "other", 12), streamed=True)
    assert cache.undelivered_for(60.0) == 0.0


def test_how_old_a_change_is_can_be_asked_of_one_kind() -> None:
    cache = seen()
    listed(cache, JOB, Listing((a_job(5),), "9"))
    assert cache.undelivered_for(60.0, JOB) == 60.0
    assert cache.undelivered_for(60.0, POD) == 0.0


def test_what_was_listed_and_is_gone_by_the_next_list_is_not_waited_for() -> None:
    cache = seen()
    listed(cache, JOB, Listing((a_job(5),), "9"))
    listed(cache, JOB, Listing((), "20"))
    assert cache.undelivered_for(600.0) == 0.0


def test_an_object_that_a_watch_lists_again_shows_that_the_watch_began_anew() -> None:
    cache = seen()
    listed(cache, JOB, Listing((a_job(5),), "9"))
    assert not cache.was_streamed(JOB, a_job(5)), "our own list is no watch"
    cache.take(JOB, a_job(5), streamed=True)
    assert cache.was_streamed(JOB, a_job(5))
    assert not cache.was_streamed(JOB, an_object(JOB, "j", 9, uid="another"))


HISTORY = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "delete"])), max_size=25
)


@given(history=HISTORY, data=st.data())
def test_news_in_any_order_lost_or_doubled_and_one_list_give_the_truth(
    history: list[tuple[str, str]], data: st.DataObject
) -> None:
    truth: dict[str, Object] = {}
    news: list[tuple[str, Object]] = []
    snapshots = [Listing((), "1")]
    for version, (name, what) in enumerate(history, 2):
        if what == "delete" and name in truth:
            last = copy.deepcopy(truth.pop(name))
            last["metadata"]["resourceVersion"] = str(version)
            news.append(("DELETED", last))
        elif what == "write":
            uid = truth[name]["metadata"]["uid"] if name in truth else f"uid-{name}-{version}"
            truth[name] = an_object(RUN, name, version, uid=uid, status={"step": version})
            news.append(("ADDED", truth[name]))
        snapshots.append(Listing(tuple(copy.deepcopy([*truth.values()])), str(version)))
    told = data.draw(st.lists(st.sampled_from(news), max_size=40)) if news else []
    cache, newest = seen(), dict.fromkeys("abc", 0)
    for type_, whole in told:
        if data.draw(st.booleans()):
            listed(cache, RUN, data.draw(st.sampled_from(snapshots)))
        if type_ == "DELETED":
            cache.take_deletion(RUN, whole)
        else:
            cache.take(RUN, whole, streamed=True)
        for name in "abc":
            run = cache.run(("default", name))
            if run is not None:
                version = int(run["metadata"]["resourceVersion"])
                assert version >= newest[name], "it went back"
                newest[name] = version
    listed(cache, RUN, snapshots[-1])
    for name in "abc":
        run = cache.run(("default", name))
        wanted = truth.get(name)
        assert (run and run["status"]) == (wanted and wanted["status"])


@pytest.mark.parametrize("kind", [RUN, JOB, POD], ids=lambda k: k.kind)
def test_what_is_kept_of_an_object_is_small(kind: Kind) -> None:
    """A pod as an API server has it is 8 KB and more; a thousand runs have eight thousand."""
    cache, whole = seen(), an_object(kind, "x", 1)
    whole["metadata"]["managedFields"] = [{"fieldsV1": {str(i): {} for i in range(500)}}]
    whole["metadata"]["annotations"] = {labels.STAGE_FILE: "x" * 8000}
    cache.take(kind, whole)
    assert cache.size(kind) < 600
