"""What holds for all scenarios together."""

from scenarios.play import Outcomes


def test_the_operator_ran_through_and_ended_in_peace(played: Outcomes) -> None:
    assert played.operator == ""


def test_no_object_ever_had_anything_of_kopf_on_it(played: Outcomes) -> None:
    assert played.with_kopf == []


def test_finished_failed_and_suspended_runs_cost_no_request(played: Outcomes) -> None:
    assert played.quiet
    assert {name: asked for name, asked in played.quiet.items() if asked} == {}
