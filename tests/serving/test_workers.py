"""Threads that answer what waits together: who gets which answer, and what happens to those who cannot be answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.errors import ApiError
from serving.workers import BatchWorkers
from tests.pipeline.small import N_USERS, user_id
from tests.serving.conftest import Start, service_of
from tests.serving.test_at_once import films
from tests.serving.test_lists import listed


class Desk:
    """Answers numbers by their doubles; the first batch waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered, self.released = threading.Event(), threading.Event()

    def answer(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        self.entered.set()
        assert self.released.wait(60)
        return [ValueError(f"{number} is odd") if number % 2 else 2 * number for number in numbers]


async def asked(workers: BatchWorkers[int, int], desk: Desk, rest: Sequence[int]) -> list[Any]:
    """Ask 100, and the rest while it is answered; returns all answers and errors."""
    first = asyncio.create_task(workers.run(100))
    await asyncio.to_thread(desk.entered.wait, 60)
    others = [asyncio.create_task(workers.run(number)) for number in rest]
    await asyncio.sleep(0)  # each of them waits now
    desk.released.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def workers_of(answer: Callable[..., Any], *, waiting: int = 64, seconds: float = 60.0) -> BatchWorkers[int, int]:
    return BatchWorkers("test", 1, waiting, seconds, answer, 3)


def test_what_waits_is_answered_together_up_to_the_most() -> None:
    desk = Desk()
    workers = workers_of(desk.answer)
    found = asyncio.run(asked(workers, desk, [2, 4, 6, 8, 10]))
    assert found == [200, 4, 8, 12, 16, 20]
    assert desk.batches == [[100], [2, 4, 6], [8, 10]]
    workers.close()


def test_an_error_belongs_to_its_own_question() -> None:
    desk = Desk()
    found = asyncio.run(asked(workers_of(desk.answer), desk, [2, 3, 4]))
    assert found[:2] + found[3:] == [200, 4, 8]
    assert isinstance(found[2], ValueError)


def test_an_exception_of_a_batch_reaches_each_of_its_questions_and_the_next_batch_is_answered() -> None:
    desk = Desk()

    def broken(numbers: Sequence[int]) -> list[int | Exception]:
        found = desk.answer(numbers)
        if 2 in numbers:
            raise RuntimeError("the whole batch")
        return found

    found = asyncio.run(asked(workers_of(broken), desk, [2, 4, 6, 8]))
    assert [type(one) for one in found] == [int, RuntimeError, RuntimeError, RuntimeError, int]


def test_a_question_whose_caller_has_gone_is_dropped() -> None:
    desk = Desk()
    workers = workers_of(desk.answer)

    async def go() -> Any:
        first = asyncio.create_task(workers.run(100))
        await asyncio.to_thread(desk.entered.wait, 60)
        gone, stays = asyncio.create_task(workers.run(2)), asyncio.create_task(workers.run(4))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        desk.released.set()
        return await asyncio.gather(first, stays)

    assert asyncio.run(go()) == [200, 8]
    assert desk.batches == [[100], [4]]


def test_too_many_questions_are_refused_and_late_ones_sent_away() -> None:
    desk = Desk()
    found = asyncio.run(asked(workers_of(desk.answer, waiting=2), desk, [2, 4, 6]))
    assert found[:3] == [200, 4, 8]
    assert isinstance(found[3], ApiError)
    assert found[3].status == 503

    slow = Desk()

    async def late() -> Any:
        task = asyncio.create_task(workers_of(slow.answer, seconds=0.05).run(100))
        try:
            return await asyncio.gather(task, return_exceptions=True)
        finally:
            slow.released.set()

    (error,) = asyncio.run(late())
    assert isinstance(error, ApiError)
    assert error.status == 503


@pytest.mark.parametrize(("most_together", "expected"), [(8, [1, 4]), (1, [1, 1, 1, 1, 1])])
def test_lists_that_wait_are_one_batch_and_each_has_its_own_answer(
    start: Start, most_together: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(most_together=most_together)
    alone = [films(listed(client, user_id=user_id(user))) for user in range(N_USERS)]
    service = service_of(client)
    pipeline, entered, released = service.model.pipeline, threading.Event(), threading.Event()
    original, sizes = pipeline.run_request, []

    def wait(request: Any) -> Any:
        sizes.append(len(request.queries))
        entered.set()
        assert released.wait(60)
        return original(request)

    monkeypatch.setattr(pipeline, "run_request", wait)
    with ThreadPoolExecutor(8) as clients:
        first = clients.submit(listed, client, user_id=user_id(0))
        assert entered.wait(60)
        others = [clients.submit(listed, client, user_id=user_id(user)) for user in range(1, 5)]
        unknown = clients.submit(client.post, "/v1/recommendations", json={"user_id": 999_999_999})
        while len(service.lists._waiting) < 5:
            time.sleep(0.01)
        released.set()
        assert [films(one.result()) for one in (first, *others)] == alone[:5]
        assert unknown.result().status_code == 404
    assert sizes == expected
