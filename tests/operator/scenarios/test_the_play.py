"""What holds for all scenarios together."""

import pytest
from scenarios.play import Outcomes
from scenarios.roles import allowed_by

BEHIND_AN_APPLY = {
    ("", "services", "create"),
    ("networking.k8s.io", "networkpolicies", "create"),
}
"""A server-side apply of what is not there needs them, and is logged as a patch. (That it does is
tested with the other rules.)"""


def test_the_operator_ran_through_and_ended_in_peace(played: Outcomes) -> None:
    assert played.operator == ""


def test_it_asked_for_nothing_that_the_rules_do_not_allow(played: Outcomes) -> None:
    assert played.refused == []
    assert set(played.requests) <= allowed_by("runs", "nodes", "lease")


def test_every_rule_is_needed(played: Outcomes) -> None:
    if not played.whole:
        pytest.skip("a part of the scenarios needs a part of the rules")
    assert set(played.requests) | BEHIND_AN_APPLY == allowed_by("runs", "nodes", "lease")


def test_no_object_ever_had_anything_of_kopf_on_it(played: Outcomes) -> None:
    assert played.with_kopf == []


def test_finished_failed_and_suspended_runs_cost_no_request(played: Outcomes) -> None:
    if not played.whole:
        pytest.skip("not every scenario has such a time")
    assert played.quiet
    assert {name: asked for name, asked in played.quiet.items() if asked} == {}
