"""From changes to published tables: when, with what, and what a failure costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ingress.app.pipeline import Pipeline
from ingress.options import Options
from ingress.publish import Publisher, self_signed
from ingress.resources import (
    BackendPort,
    Change,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    IngressTls,
    ObjectMeta,
    ObjectRef,
    Problem,
    ServiceBackend,
    Snapshot,
    Wanted,
)
from ingress.translate import Translation
from ingress.watch import FolderSource, Take
from ingress.watch.folder import changes_between

OPTIONS = Options(manifests="folder")
BROKEN = Problem(object=ObjectRef(kind="Ingress", name="x"), field="", reason="Broken", message="is broken")


class Source:
    """Whole when the test says so."""

    def __init__(self) -> None:
        self.unsynced_reason: str | None = "a Secret is not read yet"
        self.problems: tuple[Problem, ...] = ()
        self.read: frozenset[Wanted] | None = None
        self.wanted: list[frozenset[Wanted]] = []
        self.call: Callable[[], None] = lambda: None

    def want(self, wanted: frozenset[Wanted]) -> None:
        self.wanted.append(wanted)

    def on_problems(self, call: Callable[[], None]) -> None:
        self.call = call

    async def run(self, take: Take) -> None:
        """The test takes its place."""


class Site:
    """A pipeline, and what it told."""

    def __init__(self) -> None:
        self.source = Source()
        self.publisher = Publisher()
        self.told: list[tuple[Translation, tuple[Problem, ...], bool]] = []
        self.pipeline = Pipeline(
            OPTIONS, self.source, self.publisher, certificate=self_signed(), translated=self._translated
        )

    def _translated(self, translation: Translation, problems: tuple[Problem, ...], changed: bool) -> None:
        self.told.append((translation, problems, changed))

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not happened():
                await asyncio.sleep(0.005)

    async def take(self, *changes: Change) -> None:
        """And wait until they were worked off."""
        translated = len(self.source.wanted)
        self.pipeline.take(changes)
        await self.until(lambda: len(self.source.wanted) > translated)


@asynccontextmanager
async def running() -> AsyncIterator[Site]:
    site = Site()
    task = asyncio.get_running_loop().create_task(site.pipeline.run())
    try:
        yield site
    finally:
        task.cancel()


def ingress(host: str, *, secret: str = "") -> Change:
    backend = IngressBackend(service=ServiceBackend(name="app", port=BackendPort(number=80)))
    path = IngressPath(path="/", path_type="Prefix", backend=backend)
    rule = IngressRule(host=host, http=IngressHttp(paths=(path,)))
    tls = (IngressTls(hosts=(host,), secret_name=secret),) if secret else ()
    value = Ingress(metadata=ObjectMeta(name="a", namespace="web"), spec=IngressSpec(rules=(rule,), tls=tls))
    return Change(kind=Ingress, key=("web", "a"), value=value)


async def test_nothing_is_published_before_the_source_is_whole() -> None:
    """A translation says what is wanted; only when that was read, too, is there a first table."""
    async with running() as site:
        await site.take(ingress("a.example.com", secret="tls"))
        assert site.source.wanted[-1] == {Wanted(kind="Secret", namespace="web", name="tls")}
        assert (site.publisher.current.generation, site.pipeline.is_whole, site.told) == (0, False, [])
        site.source.unsynced_reason = None
        site.pipeline.take(())
        await site.until(lambda: site.told)
        assert site.pipeline.is_whole
        assert set(site.publisher.current.table.hosts) == {"a.example.com"}


async def test_a_source_that_lags_later_holds_up_nothing() -> None:
    """After the first whole table every change is published at once."""
    async with running() as site:
        site.source.unsynced_reason = None
        await site.take(ingress("a.example.com"))
        site.source.unsynced_reason = "a Secret is not read yet"
        await site.take(ingress("b.example.com"))
        await site.until(lambda: set(site.publisher.current.table.hosts) == {"b.example.com"})


async def test_problems_of_reading_are_told_without_any_change() -> None:
    """What cannot be read stands among what is wrong; the same problems are the same tuple."""
    async with running() as site:
        site.source.unsynced_reason = None
        await site.take(ingress("a.example.com"))
        await site.until(lambda: len(site.told) == 1)
        site.source.problems = (BROKEN,)
        site.source.call()
        await site.until(lambda: len(site.told) == 2)
        site.pipeline.take(())
        await site.until(lambda: len(site.told) == 3)
        (_, first, changed), (_, second, changed_again), (_, third, _) = site.told
        assert BROKEN not in first
        assert BROKEN in second
        assert third is second
        assert (changed, changed_again) == (True, False)


async def test_a_failure_keeps_the_last_table_and_the_next_change_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of ours costs one update: what it brought is not lost."""
    async with running() as site:
        site.source.unsynced_reason = None
        await site.take(ingress("a.example.com"))
        await site.until(lambda: site.told)
        with monkeypatch.context() as patched:
            failed = asyncio.Event()
            loop = asyncio.get_running_loop()

            def fail(*_: Any, **__: Any) -> None:
                loop.call_soon_threadsafe(failed.set)
                raise RuntimeError("a defect")

            patched.setattr("ingress.translate.memory.Memory.settle", fail)
            site.pipeline.take([ingress("b.example.com")])
            await asyncio.wait_for(failed.wait(), 5)
            assert set(site.publisher.current.table.hosts) == {"a.example.com"}
        site.pipeline.take(())
        await site.until(lambda: set(site.publisher.current.table.hosts) == {"b.example.com"})


async def test_what_was_not_looked_for_yet_is_not_missing() -> None:
    """A Secret that is named for the first time is a problem only once it was looked for in vain."""
    async with running() as site:
        site.source.unsynced_reason = None
        site.source.read = frozenset()
        await site.take(ingress("a.example.com", secret="tls"))
        await site.until(lambda: len(site.told) == 1)
        site.source.read = site.source.wanted[-1]
        site.pipeline.take(())
        await site.until(lambda: len(site.told) == 2)
        before, after = ({problem.reason for problem in problems} for _, problems, _ in site.told)
        assert "SecretNotFound" not in before
        assert "SecretNotFound" in after


async def test_an_ingress_of_another_class_is_not_judged() -> None:
    """``None`` lets it pass; ours gets its problems, and so does one of a class that is not there."""
    async with running() as site:
        metadata = ObjectMeta(name="other")
        other = IngressClass(metadata=metadata, spec=IngressClassSpec(controller="example.com/other"))
        await site.take(Change(kind=IngressClass, key=("", "other"), value=other))
        ours = ingress("a.example.com").value
        assert isinstance(ours, Ingress)
        judged = await site.pipeline.judge(ours)
        assert judged is not None
        assert [problem.reason for problem in judged] == ["ServiceNotFound"]
        spec = IngressSpec(ingress_class_name="other", rules=ours.spec.rules)
        assert await site.pipeline.judge(Ingress(metadata=ours.metadata, spec=spec)) is None
        spec = IngressSpec(ingress_class_name="nobody", rules=ours.spec.rules)
        judged = await site.pipeline.judge(Ingress(metadata=ours.metadata, spec=spec))
        assert judged is not None
        assert [problem.reason for problem in judged] == ["ClassNotFound"]


def test_changes_lead_from_one_snapshot_to_the_next() -> None:
    """New, different and gone; what is equal is not told."""
    one, other = ingress("a.example.com").value, ingress("b.example.com").value
    assert isinstance(one, Ingress)
    assert isinstance(other, Ingress)
    old = Snapshot(ingresses={("web", "same"): one, ("web", "changed"): one, ("web", "gone"): one})
    new = Snapshot(ingresses={("web", "same"): one, ("web", "changed"): other, ("web", "new"): one})
    changes = {change.key[1]: change.value for change in changes_between(old, new)}
    assert changes == {"changed": other, "new": one, "gone": None}


async def test_a_folder_tells_its_objects_and_what_is_wrong_with_its_files(tmp_path: Path) -> None:
    """A broken file costs its own objects only; a change of it is told, and problems call."""
    file = tmp_path / "a.yaml"
    file.write_text("kind: Service\napiVersion: v1\nmetadata: {name: app}\nspec: {ports: [{port: 80}]}\n")
    source = FolderSource(tmp_path)
    assert source.unsynced_reason == "the manifests are being read"
    told: list[Sequence[Change]] = []
    called: list[int] = []
    source.on_problems(lambda: called.append(len(source.problems)))
    task = asyncio.get_running_loop().create_task(source.run(told.append))
    try:
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.01)
        assert source.unsynced_reason is None
        assert [change.key for change in told[0]] == [("default", "app")]
        file.write_text("kind: [")
        await source.reload()
        assert len(told) == 1
        assert called[-1:] == [2]
        assert {problem.reason for problem in source.problems} == {"InvalidYAML", "LastGoodVersion"}
    finally:
        task.cancel()
