"""On a cluster of distributed: paid once, also when a worker is killed; workers on several machines need a shared journal."""

from __future__ import annotations

import gc
import os
import signal
import warnings

import dask.dataframe as dd
import distributed
import pytest
from helpers import about, answer, asked, paid_again, texts, wait_until

import llmframe
from llmframe.testing import Fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as started,
    ):
        yield started


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as connected:
        yield connected


def frame(rows, partitions):
    return dd.from_pandas(asked(rows), npartitions=partitions)


def test_a_cluster_pays_each_request_once_and_again_nothing(client, llm):
    doubled = dd.concat([frame(60, 4), frame(60, 2)])
    answered = doubled.llm.complete("q", into="a")
    assert len(answered) == 120
    assert llm.ledger.requests == 0
    for _ in range(2):
        assert answered.compute(scheduler=client)["a"].tolist() == 2 * [answer(text) for text in texts(60)]
    assert llm.ledger.billed == 60


def test_a_worker_that_is_killed_loses_no_answer_and_nothing_is_paid_again_but_what_was_in_flight(
    client, llm
):
    llm.latency = 0.1
    future = client.compute(frame(400, 8).llm.complete("q", max_concurrency=10))
    wait_until(lambda: llm.ledger.billed > 60)
    in_flight = llm.ledger.in_flight
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert future.result(timeout=120)["q_completion"].tolist() == [answer(text) for text in texts(400)]
    assert paid_again(llm) <= in_flight + 20


def test_the_error_of_a_partition_reaches_the_client_and_the_others_are_not_begun(client, llm):
    llm.faults = [Fault("context_length_exceeded", when=about(*range(0, 400, 10)))]
    answered = frame(400, 40).llm.complete("q")
    with pytest.raises(llmframe.CompletionError) as caught:
        answered.compute(scheduler=client)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.failures["label"].tolist()[0] % 10 == 0
    assert llm.ledger.billed < 200
    llm.faults = []
    del caught  # the scheduler keeps a failed task as long as the error's traceback holds it
    gc.collect()
    wait_until(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    in_flight = llm.ledger.max_in_flight
    assert answered.compute(scheduler=client)["q_completion"].notna().all()
    assert (
        paid_again(llm) <= in_flight
    )  # of the partitions that were ended: answered while nobody waited any more


def test_a_future_that_is_released_ends_the_sending(client, llm):
    llm.latency = 0.1
    future = client.compute(frame(2000, 20).llm.complete("q", max_concurrency=10))
    wait_until(lambda: llm.ledger.billed > 60)
    future.release()
    wait_until(lambda: not llm.ledger.in_flight)
    assert llm.ledger.requests < 1000


def test_workers_on_several_machines_are_refused_before_anything_is_sent(llm):
    hosts = ("127.0.0.1", "127.0.0.2")
    workers = {host: {"cls": distributed.Nanny, "options": {"host": host, "nthreads": 1}} for host in hosts}
    scheduler = {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as several,
        distributed.Client(several) as client,
    ):
        client.wait_for_workers(2)
        with pytest.raises(ValueError, match=r"2 machines .*postgresql://….*one machine"):
            frame(20, 4).llm.complete("q").compute(scheduler=client)
        assert llm.ledger.requests == 0
        answers = frame(20, 4).llm.complete("q", journal=False).compute(scheduler=client)
        assert answers["q_completion"].notna().all()
