"""Whole runs on one machine, with real processes: what is killed goes on, what failed is told."""

import json
import os
import shutil
import signal

import pytest
import yaml
from acereason_operator.api.status import RunStatus
from acereason_operator.local.cores import machine_cores
from laptops import DATA, EVAL, SFT, Laptop, told

from tests.waiting import is_alive, wait_for


def test_a_run_goes_from_data_to_a_table_and_a_report(laptop: Laptop) -> None:
    said = laptop.has(DATA, SFT, EVAL).runs("-o", "text")
    assert laptop.states() == {"data": "Complete", "sft": "Complete", "eval": "Complete"}
    assert "math avg@4 61.2 ± 2.9 (n=240)" in said
    report = laptop.store / "runs" / "demo" / "report.html"
    assert str(report) in said and "<html" in report.read_text()


def test_a_finished_run_starts_nothing_again(laptop: Laptop) -> None:
    laptop.has(DATA).runs()
    before = laptop.status()
    laptop.runs()
    assert laptop.status() == before and not laptop.attempt("data", 2).exists()


def test_a_killed_runner_leaves_its_stage_running_and_the_next_one_adopts_it(
    laptop: Laptop,
) -> None:
    runner = laptop.has(told(DATA, "wait"), SFT).run()
    rank = laptop.ready("data")
    runner.kill()
    runner.wait()
    assert is_alive(rank)
    assert "Unattended" in laptop.says("status", "--store", "store")
    runner = laptop.run()
    laptop.lets_go("data")
    laptop.end_of(runner)
    assert laptop.stage("data").attempts == 1
    assert laptop.states() == {"data": "Complete", "sft": "Complete"}


def test_a_stage_that_ended_while_nobody_looked_is_not_made_again(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "wait")).run()
    laptop.ready("data")
    runner.kill()
    runner.wait()
    laptop.lets_go("data")
    wait_for((laptop.attempt("data") / "result.json").exists, "the end of the stage")
    laptop.runs()
    assert (laptop.stage("data").state, laptop.stage("data").attempts) == ("Complete", 1)


def test_a_killed_stage_is_tried_again_by_its_runner(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "wait")).run()
    rank = laptop.ready("data")
    os.kill(laptop.launcher("data"), signal.SIGKILL)
    wait_for(lambda: not is_alive(rank), "the rank to end with its launcher")
    laptop.ready("data", 2)
    laptop.lets_go("data")
    assert "it was killed (SIGKILL" in laptop.end_of(runner)
    assert laptop.stage("data").state == "Complete"


def test_runner_and_stage_killed_together_cost_one_infrastructure_loss(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "wait")).run()
    rank = laptop.ready("data")
    runner.kill()
    runner.wait()
    os.kill(laptop.launcher("data"), signal.SIGKILL)
    wait_for(lambda: not is_alive(rank), "the rank to end with its launcher")
    laptop.lets_go("data")
    assert "BackingOff" not in laptop.runs(), "whoever starts a run wants it to go on now"
    assert laptop.stage("data").spent.infrastructure == 1
    assert laptop.stage("data").state == "Complete"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_lets_its_stages_stop_and_goes_on_later(
    laptop: Laptop, number: signal.Signals, code: int
) -> None:
    runner = laptop.has(told(DATA, "wait"), SFT).run()
    rank = laptop.ready("data")
    runner.send_signal(number)
    assert "the same command goes on" in laptop.end_of(runner, code)
    assert not is_alive(rank)
    record = json.loads((laptop.attempt("data") / "result.json").read_text())
    assert record["exitCode"] == 143, "stopped through its own SIGTERM path"
    assert laptop.stage("data").spent.user == laptop.stage("data").spent.infrastructure == 0
    laptop.lets_go("data")
    laptop.runs()
    assert laptop.states() == {"data": "Complete", "sft": "Complete"}


def test_a_second_ctrl_c_kills_what_does_not_stop(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "stubborn", gracePeriod="10m")).run()
    rank = laptop.ready("data")
    runner.send_signal(signal.SIGINT)
    wait_for(
        lambda: (a := laptop.stage("data").attempt) is not None and a.stopping is not None,
        "the stop to be decided",
    )
    assert is_alive(rank)
    runner.send_signal(signal.SIGINT)
    laptop.end_of(runner, 130)
    wait_for(lambda: not is_alive(rank), "the rank to end")


def test_a_second_start_of_the_same_run_is_refused_by_the_pid_of_the_first(laptop: Laptop) -> None:
    runner = laptop.has(told(DATA, "wait")).run()
    laptop.ready("data")
    said = laptop.runs(code=1)
    assert f"carried out by process {runner.pid} already" in said
    laptop.lets_go("data")
    laptop.end_of(runner)


def test_until_leaves_out_what_the_stage_does_not_need(laptop: Laptop) -> None:
    side = {**DATA, "name": "side", "needs": []}
    said = laptop.has(DATA, SFT, EVAL, side).runs("--until", "sft")
    assert said.count("not asked for: eval, side; without --until sft they follow") == 1
    status = laptop.says("status", "demo", "--store", "store", "-o", "json")
    assert status.count('"message": "not asked for: --until sft"') == 2
    assert "uspended by" not in status and "held back" not in status + said
    planned = laptop.says("plan", str(laptop.file), "--until", "sft", "-o", "json")
    assert [s["verdict"] for s in json.loads(planned)] == ["keep", "keep", "held", "held"]
    states = laptop.states()
    assert (states["data"], states["sft"]) == ("Complete", "Complete")
    assert not laptop.attempt("eval").exists() and not laptop.attempt("side").exists()
    laptop.runs()
    assert set(laptop.states().values()) <= {"Complete", "Reused"}
    assert laptop.stage("sft").attempts == 1


def test_a_run_that_its_file_holds_back_says_so(laptop: Laptop) -> None:
    said = laptop.has(DATA, {**SFT, "suspend": True}).runs(code=1)
    assert "held back by suspend: sft; set it to false to go on" in said
    assert laptop.states() == {"data": "Complete", "sft": "Suspended"}
    assert "held back by its own suspend" in laptop.says("status", "demo", "--store", "store")


def test_an_edit_between_runs_costs_what_is_below_it_and_nothing_else(laptop: Laptop) -> None:
    side = {**DATA, "name": "side", "needs": [], "curate": {"maxRows": 1}}
    laptop.has(DATA, side, SFT, EVAL).runs()
    before = {s.name: s.artifact for s in laptop.status().stages}
    laptop.has(DATA, side, {**SFT, "sft": {"rowTokens": 64}}, EVAL).runs()
    after = {s.name: s.artifact for s in laptop.status().stages}
    assert {name for name in after if after[name] != before[name]} == {"sft", "eval"}
    assert not laptop.attempt("data", 2).exists() and not laptop.attempt("side", 2).exists()


def test_a_stage_that_outlives_its_runner_does_not_keep_what_an_edit_replaced(
    laptop: Laptop,
) -> None:
    runner = laptop.has(DATA, told(SFT, "wait"), EVAL).run()
    laptop.ready("sft")
    runner.kill()
    runner.wait()
    edited = {**DATA, "curate": {"maxRows": 1}}
    runner = laptop.has(edited, told(SFT, "wait"), EVAL).run()
    laptop.ready("sft", 2)
    laptop.lets_go("sft")
    laptop.end_of(runner)
    mended = {s.name: s.key for s in laptop.status().stages}
    laptop.has(edited, SFT, EVAL).file.write_text(
        laptop.file.read_text().replace("name: demo", "name: fresh")
    )
    laptop.runs("--store", "other-store")
    fresh = RunStatus.parse_json(
        (laptop.root / "other-store" / "runs" / "fresh" / "status.json").read_bytes()
    )
    assert mended == {s.name: s.key for s in fresh.stages}


def test_a_run_that_is_stale_already_is_healed_by_the_next_start(laptop: Laptop) -> None:
    laptop.has(DATA, SFT).runs()
    before = laptop.stage("sft")
    path = laptop.store / "runs" / "demo" / "status.json"
    assert before.prepare is not None and before.prepare.inputs is not None
    assert before.prepare.inputs.data is not None
    read = before.prepare.inputs.data.digest
    status = json.loads(path.read_text())
    (sft,) = [s for s in status["stages"] if s["name"] == "sft"]
    sft["prepare"]["inputs"]["data"]["digest"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(status))
    laptop.runs()
    healed = laptop.stage("sft").prepare
    assert healed is not None and healed.inputs is not None and healed.inputs.data is not None
    assert healed.inputs.data.digest == read


def test_a_result_that_is_gone_is_made_again(laptop: Laptop) -> None:
    laptop.has(DATA, SFT).runs()
    artifact = laptop.stage("sft").artifact
    assert artifact is not None
    shutil.rmtree(laptop.store / artifact.uri)
    laptop.runs()
    assert laptop.stage("sft").artifact == artifact
    assert (laptop.store / artifact.uri / "manifest.json").exists()


def test_a_result_that_was_given_up_is_not_made_again(laptop: Laptop) -> None:
    more = {**SFT, "name": "more", "needs": ["sft"]}
    laptop.has(DATA, SFT, more, retention={"keepIntermediate": "final"}).runs()
    artifact = laptop.stage("sft").artifact
    assert artifact is not None
    shutil.rmtree(laptop.store / artifact.uri)
    laptop.runs()
    assert not (laptop.store / artifact.uri).exists()
    assert not laptop.attempt("sft", 2).exists()


def test_an_edit_that_keeps_every_key_starts_nothing(laptop: Laptop) -> None:
    laptop.has(DATA).runs()
    laptop.has({**DATA, "retries": {"user": 7}}).runs()
    assert not laptop.attempt("data", 2).exists()
    assert laptop.status().observed_generation == 2


def test_a_null_that_means_something_reaches_the_stage(laptop: Laptop) -> None:
    laptop.has({**DATA, "curate": {"decontamination": None}}).runs()
    told_file = yaml.safe_load((laptop.attempt("data") / "stage.launched.yaml").read_text())
    assert told_file["settings"]["curate"]["decontamination"] is None


def test_data_that_was_written_anew_is_read_again(laptop: Laptop) -> None:
    laptop.has(DATA, SFT).runs()
    before = laptop.stage("sft").artifact
    (laptop.root / "train.jsonl").write_text('{"problem": "another", "answer": "2"}\n')
    os.utime(laptop.root / "train.jsonl", (1, 1))  # as a copy of an older file may be
    laptop.runs()
    assert laptop.stage("sft").artifact != before


def test_data_that_was_only_touched_is_found_to_be_the_same(laptop: Laptop) -> None:
    laptop.has(DATA, SFT).runs()
    before = laptop.stage("sft").artifact
    (laptop.root / "train.jsonl").touch()
    laptop.runs()
    assert laptop.stage("sft").artifact == before
    assert not (laptop.attempt("data", 2) / "rank-0.log").exists(), "prepared, not made again"


def test_a_stage_that_keeps_failing_ends_the_run_with_one_sentence(laptop: Laptop) -> None:
    said = laptop.has(told(DATA, "fail"), SFT).runs(code=1)
    (sentence,) = [line for line in said.splitlines() if line.startswith("stage data: ")]
    assert "try: correct what the log shows" in sentence
    assert "exit 1, 2 of 2 attempts used" in sentence
    assert f"log: {laptop.attempt('data', 2)}/rank-0.log" in sentence
    assert laptop.states() == {"data": "Failed", "sft": "Waiting"}


def test_bad_configuration_is_not_tried_twice(laptop: Laptop) -> None:
    said = laptop.has(told(DATA, "refuse")).runs(code=1)
    assert "line 4 has no answer" in said
    assert not laptop.attempt("data", 2).exists()


def test_a_failed_stage_is_tried_again_by_the_next_start(laptop: Laptop) -> None:
    laptop.has(told(DATA, "refuse")).runs(code=1)
    laptop.has(DATA).runs()
    assert laptop.stage("data").state == "Complete"


def test_one_failure_within_the_budget_is_only_told(laptop: Laptop) -> None:
    assert "1 of 2 attempts used" in laptop.has(told(DATA, "fail-first")).runs()
    assert laptop.stage("data").attempts == 2


def test_stages_that_fit_run_at_once_and_the_next_one_waits(laptop: Laptop) -> None:
    # `c` needs the gate, so that it cannot be prepared first and take every core.
    shares = {"a": 500, "b": 250, "gate": 250, "c": 1000}
    stages = [
        told(
            {**SFT, "name": name, "needs": ["gate"]}
            if name == "c"
            else {**DATA, "name": name, "needs": [], "curate": {"maxRows": i + 1}},
            "wait",
            resources={"requests": {"cpu": f"{share * machine_cores()}m"}},
        )
        for i, (name, share) in enumerate(shares.items())
    ]
    runner = laptop.has(*stages).run()
    for name in ("a", "b", "gate"):
        laptop.ready(name)
    laptop.lets_go("gate")
    wait_for(lambda: laptop.stage("c").state == "Pending", "c to be prepared")
    laptop.lets_go("a")
    wait_for(lambda: laptop.stage("a").state == "Complete", "a to end")
    assert not (laptop.attempt("c") / "train.job").exists(), "b still runs"
    laptop.lets_go("b")
    laptop.ready("c")
    laptop.lets_go("c")
    assert f"waits for {machine_cores()} free cores" in laptop.end_of(runner)
    assert laptop.threads("c") == str(machine_cores())


def test_a_stage_is_told_its_threads(laptop: Laptop) -> None:
    laptop.has({**DATA, "resources": {"requests": {"cpu": 3}}}).runs()
    assert laptop.threads("data") == "3", "the same bits on a machine with fewer cores"


def test_what_means_nothing_here_is_named_once(laptop: Laptop) -> None:
    laptop.has({**DATA, "nodes": 2, "image": "trainer:1"}, queue={"name": "batch"})
    said = laptop.runs()
    assert "ignored on this machine: stages.data.image, stages.data.nodes, spec.queue" in said


def test_another_run_of_the_same_store_reuses_what_is_there(laptop: Laptop) -> None:
    laptop.has(DATA, SFT).runs()
    laptop.file.write_text(laptop.file.read_text().replace("name: demo", "name: again"))
    said = laptop.runs()
    assert said.count('"state": "Reused"') >= 2
    assert not (laptop.store / "work" / "again" / "data" / "1" / "rank-0.log").exists()
