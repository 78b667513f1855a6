"""The feed, with the test at the worker's end of the channel."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.publish import Feed, Publisher, with_default_certificate
from ingress.publish.certificate import SELF_SIGNED
from proxy.table import Certificate, Cluster, Endpoint, Table
from proxy.table.feed import (
    Ack,
    AskStats,
    ChangedKeys,
    Delta,
    Down,
    Drain,
    Drained,
    FrameDecoder,
    Nack,
    Stats,
    Stop,
    Up,
    apply_delta,
    difference,
    encode_frame,
)


def table(*ports: int) -> Table:
    """A table with one cluster per port."""
    return Table(clusters={str(port): Cluster(endpoints=(Endpoint(address="10.0.0.1", port=port),)) for port in ports})


class Heard:
    """A FeedListener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def acknowledged(self, worker: int, generation: int) -> None:
        self.events.append(("ack", worker, generation))

    def refused(self, worker: int, generation: int, reason: str, *, final: bool) -> None:
        self.events.append(("nack", worker, generation, reason, final))

    def counted(self, worker: int, stats: Stats) -> None:
        self.events.append(("stats", worker, stats.token))

    def ended(self, worker: int) -> None:
        self.events.append(("ended", worker))


class FakeWorker:
    """The other end: receives messages, holds the table, answers by hand."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._decoder: FrameDecoder[Down] = FrameDecoder(Down)
        self._messages: list[Down] = []
        self.table = Table()

    async def receive(self) -> Down:
        while not self._messages:
            data = await asyncio.get_running_loop().sock_recv(self._channel, 65536)
            assert data, "the control process closed the feed"
            self._messages += self._decoder.feed(data)
        return self._messages.pop(0)

    async def receive_delta(self) -> Delta:
        message = await self.receive()
        assert isinstance(message, Delta)
        return message

    async def accept(self) -> Delta:
        delta = await self.receive_delta()
        self.table = apply_delta(self.table, delta)
        self.say(Ack(generation=delta.generation))
        return delta

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(0.05):
                self._messages.append(await self.receive())
        except TimeoutError:
            return True
        return False

    def say(self, message: Up) -> None:
        self._channel.sendall(encode_frame(message))

    def close(self) -> None:
        self._channel.close()


class Conversation:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.publisher = Publisher()
        self.heard = Heard()
        self.feed = Feed(3, ours, self.publisher, self.heard)
        self.worker = FakeWorker(theirs)

    def publish(self, value: Table) -> None:
        self.publisher.publish(value)
        self.feed.wake()

    async def until(self, *event: object) -> None:
        async with asyncio.timeout(2):
            while event not in self.heard.events:
                await asyncio.sleep(0.001)


@pytest.fixture
async def talk() -> AsyncIterator[Conversation]:
    """A feed that runs until its worker closes."""
    conversation = Conversation()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(conversation.feed.run())
        yield conversation
        conversation.worker.close()


async def test_the_first_message_is_the_whole_table(talk: Conversation) -> None:
    """A worker knows nothing: the first delta resets; it is live after its acknowledgement, not before."""
    talk.publish(table(1, 2))
    delta = await talk.worker.receive_delta()
    assert (delta.generation, delta.reset, set(delta.clusters)) == (1, True, {"1", "2"})
    assert talk.feed.live is None
    talk.worker.say(Ack(generation=1))
    await talk.until("ack", 3, 1)
    assert talk.feed.live is talk.publisher.current


async def test_nothing_is_sent_before_the_first_table(talk: Conversation) -> None:
    """Generation 0 is not a table."""
    talk.feed.wake()
    assert await talk.worker.hears_nothing()


async def test_a_change_is_a_small_delta(talk: Conversation) -> None:
    """Only the keys that changed or went, with the number that follows."""
    talk.publish(table(1, 2))
    await talk.worker.accept()
    await talk.until("ack", 3, 1)
    talk.publish(table(2, 3))
    delta = await talk.worker.receive_delta()
    assert (delta.generation, delta.reset) == (2, False)
    assert delta.clusters == {"3": table(3).clusters["3"], "1": None}


async def test_an_equal_table_is_not_published(talk: Conversation) -> None:
    """A file that was touched costs the workers nothing."""
    talk.publish(table(1))
    await talk.worker.accept()
    await talk.until("ack", 3, 1)
    assert not talk.publisher.publish(table(1))
    talk.feed.wake()
    assert await talk.worker.hears_nothing()
    assert talk.publisher.current.generation == 1


async def test_an_empty_first_table_is_published() -> None:
    """An empty folder is served with 404s: the workers must be told to begin."""
    publisher = Publisher()
    assert publisher.publish(Table())
    assert publisher.current.generation == 1


async def test_a_worker_that_lags_gets_one_accumulated_delta(talk: Conversation) -> None:
    """Three tables while it was busy come as one step that leads to the newest, numbered as its next."""
    talk.publish(table(1))
    await talk.worker.accept()
    await talk.until("ack", 3, 1)
    talk.publish(table(1, 2))
    first = await talk.worker.receive_delta()
    for newer in (table(3), table(3, 4), table(4, 5)):
        talk.publish(newer)
    assert await talk.worker.hears_nothing()
    talk.worker.table = apply_delta(talk.worker.table, first)
    talk.worker.say(Ack(generation=first.generation))
    second = await talk.worker.accept()
    assert (first.generation, second.generation, second.reset) == (2, 3, False)
    assert talk.worker.table == table(4, 5)
    await talk.until("ack", 3, 5)
    talk.publish(table(6))
    assert (await talk.worker.receive_delta()).generation == 4


async def test_a_refused_delta_is_followed_by_the_whole_table(talk: Conversation) -> None:
    """Whatever the worker's state is, the whole table does not depend on it."""
    talk.publish(table(1))
    await talk.worker.accept()
    await talk.until("ack", 3, 1)
    talk.publish(table(2))
    delta = await talk.worker.receive_delta()
    talk.worker.say(Nack(generation=delta.generation, reason="no"))
    whole = await talk.worker.receive_delta()
    assert whole.reset
    assert apply_delta(Table(), whole) == table(2)
    assert ("nack", 3, 2, "no", False) in talk.heard.events
    talk.worker.say(Ack(generation=whole.generation))
    await talk.until("ack", 3, 2)


async def test_a_refused_table_is_not_sent_again_but_the_next_one_is(talk: Conversation) -> None:
    """The old one stays live, without a loop of refusals; the next table comes whole."""
    talk.publish(table(1))
    await talk.worker.accept()
    await talk.until("ack", 3, 1)
    talk.publish(table(2))
    for _ in range(2):
        talk.worker.say(Nack(generation=(await talk.worker.receive_delta()).generation, reason="no"))
    await talk.until("nack", 3, 2, "no", True)
    assert await talk.worker.hears_nothing()
    assert talk.feed.live is not None
    assert talk.feed.live.generation == 1
    talk.publish(table(3))
    delta = await talk.worker.accept()
    assert (delta.reset, talk.worker.table) == (True, table(3))
    await talk.until("ack", 3, 3)


async def test_workers_in_the_same_state_share_a_frame() -> None:
    """A change is encoded once, not once per worker."""
    publisher = Publisher()
    publisher.publish(table(1))
    before = publisher.current
    publisher.publish(table(2))
    assert publisher.frame(before, 2) is publisher.frame(before, 2)
    assert publisher.frame(None, 2) is not publisher.frame(before, 2)


async def test_fresh_counters_are_waited_for(talk: Conversation) -> None:
    """The question's token tells the answer from the regular report."""
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(talk.feed.ask_stats())
        question = await talk.worker.receive()
        assert isinstance(question, AskStats)
        talk.worker.say(Stats())
        await talk.until("stats", 3, 0)
        assert not asked.done()
        assert question.token != 0
        talk.worker.say(Stats(token=question.token))
    assert ("stats", 3, question.token) in talk.heard.events
    assert talk.feed.unanswered == 0


async def test_a_question_ends_with_the_worker() -> None:
    """A scrape does not hang on a worker that dies while it is asked."""
    talk = Conversation()
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(talk.feed.run())
        tasks.create_task(talk.feed.ask_stats())
        await talk.worker.receive()
        talk.worker.close()


async def test_orders_from_before_the_channel_was_up_arrive() -> None:
    """A drain that comes while a worker starts is not lost."""
    talk = Conversation()
    talk.feed.drain(delay=1.0, timeout=2.0)
    async with asyncio.timeout(2), asyncio.TaskGroup() as tasks:
        tasks.create_task(talk.feed.run())
        assert await talk.worker.receive() == Drain(delay=1.0, timeout=2.0)
        talk.worker.close()


async def test_a_drained_worker_is_told_to_end(talk: Conversation) -> None:
    """Its report is kept for the log."""
    talk.worker.say(Drained(cut=4))
    assert isinstance(await talk.worker.receive(), Stop)
    assert talk.feed.drained == Drained(cut=4)


async def test_a_worker_that_talks_nonsense_is_an_error() -> None:
    """What does not decode ends the feed with ValueError; the supervisor then replaces the worker."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"\x00\x00\x00\x01\xc1")
        with pytest.raises(ValueError):
            await Feed(0, ours, Publisher(), Heard()).run()


def keyed(*ports: int, default: str | None = None) -> Table:
    """Like :func:`table`, with a default certificate."""
    made = Certificate(chain_pem="c", key_pem="k")
    return msgspec.structs.replace(
        table(*ports), certificates={} if default is None else {default: made}, default_certificate=default
    )


class Counted(dict[str, Cluster]):
    """A map of clusters that says how often it was gone through as a whole."""

    walked = 0

    def items(self) -> Any:
        self.walked += 1
        return super().items()


def test_known_keys_save_the_comparison() -> None:
    """With the changed keys a delta looks at no others; without them it goes through the whole table."""
    publisher = Publisher()
    publisher.publish(table(1, 2))
    before = publisher.current
    clusters = Counted(table(2, 3).clusters)
    publisher.publish(Table(clusters=clusters), ChangedKeys(clusters=frozenset({"1", "3"})))
    (delta,) = FrameDecoder[Delta](Down).feed(publisher.frame(before, 2))
    assert delta.clusters == {"1": None, "3": table(3).clusters["3"]}
    assert clusters.walked == 0
    publisher.frame(None, 2)
    assert clusters.walked == 1


def test_no_changed_key_is_no_new_table() -> None:
    """What is told not to have changed is not published, nor compared."""
    publisher = Publisher()
    assert publisher.publish(table(1), ChangedKeys(clusters=frozenset({"1"})))
    assert not publisher.publish(table(1), ChangedKeys())
    assert publisher.current.generation == 1


def test_self_signed_certificate_goes_when_an_own_one_comes() -> None:
    """It is no key that translation tells of, and yet it follows the default certificate."""
    ours = Certificate(chain_pem="o", key_pem="o")
    publisher = Publisher()
    publisher.publish(with_default_certificate(keyed(1), ours))
    before = publisher.current
    own = with_default_certificate(keyed(1, default="n/a"), ours)
    publisher.publish(own, ChangedKeys(certificates=frozenset({"n/a"}), default_certificate=True))
    (delta,) = FrameDecoder[Delta](Down).feed(publisher.frame(before, 2))
    assert apply_delta(before.table, delta) == own
    assert set(delta.certificates) == {"n/a", SELF_SIGNED}


STEPS = st.lists(
    st.tuples(st.frozensets(st.integers(1, 4)), st.sampled_from([None, "n/a", "n/b"]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(STEPS, st.sampled_from([2, 256]))
def test_any_sequence_of_tables_arrives(
    steps: list[tuple[frozenset[int], str | None, bool, bool]], max_steps: int
) -> None:
    """However far a worker lags, and whether or not keys were told: its deltas lead to the newest table."""
    ours = Certificate(chain_pem="o", key_pem="o")
    publisher = Publisher()
    publisher._steps = deque(maxlen=max_steps)
    worker, plain = Table(), Table()
    since = None
    for ports, default, told, takes in steps:
        before, plain = plain, keyed(*ports, default=default)
        delta = difference(before, plain, generation=1)
        changed = ChangedKeys(
            clusters=frozenset(delta.clusters),
            certificates=frozenset(delta.certificates),
            default_certificate=before.default_certificate != plain.default_certificate,
        )
        publisher.publish(with_default_certificate(plain, ours), changed if told else None)
        if takes:
            (delta,) = FrameDecoder[Delta](Down).feed(publisher.frame(since, 1))
            worker, since = apply_delta(worker, delta), publisher.current
            assert worker == with_default_certificate(plain, ours)
