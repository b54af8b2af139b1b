"""The uid of namespace kube-system as that of the cluster."""

import asyncio
import logging

import pytest
from source_session import cluster_of_two, ready, run, running

from kzn.topology.kube.api_server.cluster_uid import PATH, RETRY_SECONDS, TRIES, cluster_uid
from kzn.topology.kube.errors import KubeError


class Answers:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.slept: list[float] = []

    async def page(self, path: str, parameters: object, accept: str) -> bytes:
        assert (path, parameters) == (PATH, {})
        assert "PartialObjectMetadata;" in accept
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def ask(self) -> str:
        return asyncio.run(cluster_uid(self, self.sleep))


def test_the_uid_is_that_of_kube_system() -> None:
    assert Answers(b'{"metadata": {"uid": "c-1", "name": "kube-system"}}').ask() == "c-1"


def test_a_server_that_is_away_is_asked_again() -> None:
    away = KubeError("away", reason="connection")
    answers = Answers(away, away, b'{"metadata": {"uid": "c-1"}}')
    assert answers.ask() == "c-1"
    assert answers.slept == [RETRY_SECONDS] * 2


@pytest.mark.parametrize("answer", [b'{"metadata": {"u', b"no JSON", b"[]", b"\xff", b"[" * 9999])
def test_an_answer_that_cannot_be_read_is_asked_for_again(answer: bytes) -> None:
    answers = Answers(answer, b'{"metadata": {"uid": "c-1"}}')
    assert answers.ask() == "c-1"
    assert answers.slept == [RETRY_SECONDS]


def test_a_refusal_is_one_line_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = Answers(KubeError("no", reason="forbidden", status=403))
    assert answers.ask() == ""
    assert answers.slept == []
    (record,) = caplog.records
    assert "--cluster" in record.getMessage()


def test_it_is_not_asked_for_ever() -> None:
    answers = Answers(*[KubeError("away", reason="connection")] * TRIES)
    assert answers.ask() == ""
    assert len(answers.slept) == TRIES


def test_a_source_has_it_once_the_cluster_is_listed() -> None:
    async def test() -> None:
        api = cluster_of_two()
        api.objects_by_path[PATH] = {"metadata": {"uid": "c-1"}}
        async with running(api) as session:
            await ready(session)
            await session.until(lambda: session.source.cluster == "c-1")

    run(test())
