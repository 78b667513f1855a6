"""The webhook's certificate: who makes it, who trusts it when, and that its renewal is not noticed."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from cryptography import x509

from ingress.kube import KubeClient
from ingress.options import Options
from ingress.report import webhook_certificate
from ingress.report.webhook_certificate import LABEL, MANAGED, WebhookCertificate
from ingress.report.webhook_keys import LIFE, WebhookKeys, make_keys, server_context, service_names
from ingress.resources import Ingress, Problem
from tests.support.apiserver import ApiServer, Rule, User, api_server
from tests.unit.test_admission_review import asked, ingress, problem
from tests.unit.test_webhook_server import serving

NOW = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)
NAME, NAMESPACE = "pyngress", "ingress"
NAMES = service_names(NAME, NAMESPACE)
RIGHTS = User(
    name="controller",
    rules=(
        Rule(verbs=("get", "update"), resources=("secrets",), namespaces=(NAMESPACE,), names=("pyngress-webhook",)),
        Rule(verbs=("create",), resources=("secrets",), namespaces=(NAMESPACE,)),
        Rule(
            verbs=("get", "patch"),
            groups=("admissionregistration.k8s.io",),
            resources=("validatingwebhookconfigurations",),
            names=(NAME,),
        ),
    ),
)
"""No more than docs/admission.md says."""


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now


class World:
    """An API server with the configuration of the webhook, and replicas of the controller."""

    def __init__(self, api: ApiServer, client: KubeClient) -> None:
        self.api = api
        self.client = client
        self.clock = Clock()
        self.spread = 0.0

    def replica(self, *, leads: bool = True) -> WebhookCertificate:
        return WebhookCertificate(
            self.client,
            name=NAME,
            namespace=NAMESPACE,
            is_leader=lambda: leads,
            now=self.clock,
            spread=self.spread,
        )

    @property
    def secret(self) -> dict[str, Any]:
        found = self.api.get("v1", "Secret", "pyngress-webhook", NAMESPACE)
        assert found is not None
        return found

    def stored(self, key: str = "tls.crt") -> str:
        return base64.b64decode(self.secret["data"][key]).decode()

    @property
    def bundles(self) -> list[str]:
        found = self.api.get("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", NAME)
        assert found is not None
        return [base64.b64decode(each["clientConfig"].get("caBundle", "")).decode() for each in found["webhooks"]]

    def put_secret(self, keys: WebhookKeys | None, *, labels: dict[str, str]) -> None:
        data = {} if keys is None else {"ca.crt": keys.authorities, "tls.crt": keys.chain, "tls.key": keys.key}
        self.api.put(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "pyngress-webhook", "namespace": NAMESPACE, "labels": labels},
                "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
            }
        )


def configuration(bundle: str = "") -> dict[str, Any]:
    service = {"name": NAME, "namespace": NAMESPACE, "path": "/validate"}
    config = {"service": service} | ({"caBundle": base64.b64encode(bundle.encode()).decode()} if bundle else {})
    rule = {"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                "name": f"{name}.pyngress.io",
                "clientConfig": config,
                "rules": [rule | {"operations": ["CREATE", "UPDATE", "DELETE"]}],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
            }
            for name in ("one", "two")
        ],
    }


@asynccontextmanager
async def running(tmp_path: Path, *, user: User = RIGHTS) -> AsyncIterator[World]:
    async with api_server(users={"token": user}) as api:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        api.put(configuration())
        kubeconfig = api.kubeconfig(tmp_path / "config", token="token", namespace=NAMESPACE)
        client = await KubeClient.connect(Options(kubeconfig=str(kubeconfig)))
        try:
            yield World(api, client)
        finally:
            await client.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as made:
        yield made


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc]  # they are mutable mappings of just these types


def warnings_of(entries: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in entries if each["log_level"] == "warning"]


# ---- making


async def test_the_leader_makes_the_certificate_and_the_trust(world: World) -> None:
    """From nothing: a labelled Secret of type TLS, and every webhook trusts its ca.crt; with the least rights."""
    leader = world.replica()
    await leader.check()
    secret = world.secret
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["labels"] == {LABEL: MANAGED}
    assert sorted(secret["data"]) == ["ca.crt", "tls.crt", "tls.key"]
    assert world.bundles == [world.stored("ca.crt")] * 2
    assert leader.keys is not None
    assert leader.keys.chain == world.stored()


async def test_a_certificate_is_for_the_service_and_for_nothing_else(world: World) -> None:
    """Names, use, life and key; the authority may sign no further one."""
    keys = make_keys(NAMES, now=NOW)
    leaf, authority = (
        x509.load_pem_x509_certificate(keys.chain.encode()),
        x509.load_pem_x509_certificate(keys.authorities.encode()),
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert names == [
        "pyngress-webhook.ingress.svc",
        "pyngress.ingress.svc",
        "pyngress-webhook.ingress.svc.cluster.local",
        "pyngress.ingress.svc.cluster.local",
    ]
    assert leaf.not_valid_after_utc == NOW + LIFE
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert repr(keys) == "WebhookKeys(…)", "a key never gets into a log"


async def test_only_the_leader_writes(world: World) -> None:
    """Another replica waits, then serves what the leader made."""
    follower, leader = world.replica(leads=False), world.replica()
    await follower.check()
    assert follower.keys is None
    assert world.api.requests(writes=True) == []
    await leader.check()
    await follower.check()
    assert follower.keys == leader.keys


async def test_a_labelled_empty_secret_is_filled(world: World) -> None:
    """A chart may ship it, so that the controller needs no right to create Secrets."""
    world.put_secret(None, labels={LABEL: MANAGED, "app.kubernetes.io/managed-by": "Helm"})
    leader = world.replica()
    await leader.check()
    assert leader.keys is not None
    assert world.secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert world.bundles == [world.stored("ca.crt")] * 2


async def test_of_two_that_both_think_they_lead_one_wins(world: World) -> None:
    """They end with one certificate, which both serve and the API server trusts."""
    one, other = world.replica(), world.replica()
    await asyncio.gather(one.check(), other.check())
    assert one.keys == other.keys
    assert world.bundles == [world.stored("ca.crt")] * 2


async def test_of_two_that_renew_at_once_one_wins(world: World) -> None:
    """The update is bound to the version that was read: the loser reads the winner's."""
    one, other = world.replica(), world.replica()
    await one.check()
    world.clock.now += LIFE * 0.7
    await asyncio.gather(one.check(), other.check())
    assert one.keys == other.keys
    assert world.bundles == [world.stored("ca.crt")] * 2
    assert world.stored("ca.crt").count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    "keys",
    [
        WebhookKeys(authorities="rubbish", chain="rubbish", key="rubbish"),
        make_keys(("other.ingress.svc",), now=NOW),
        make_keys(NAMES, now=NOW - LIFE * 2),
        msgspec.structs.replace(make_keys(NAMES, now=NOW), authorities=make_keys(NAMES, now=NOW).authorities),
        msgspec.structs.replace(make_keys(NAMES, now=NOW), key=make_keys(NAMES, now=NOW).key),
    ],
    ids=["rubbish", "another name", "expired", "another authority", "another key"],
)
async def test_a_certificate_that_cannot_serve_is_made_anew(world: World, keys: WebhookKeys) -> None:
    """Whatever is wrong with ours is mended; another replica meanwhile keeps what it has."""
    world.put_secret(keys, labels={LABEL: MANAGED})
    follower = world.replica(leads=False)
    await follower.check()
    assert follower.keys is None
    leader = world.replica()
    await leader.check()
    assert leader.keys is not None
    assert leader.keys.fault(NAMES, NOW) == ""
    assert world.stored() == leader.keys.chain != keys.chain


# ---- trust


async def test_an_overwritten_bundle_is_repaired(world: World) -> None:
    """Within the next look, and without a new certificate."""
    leader = world.replica()
    await leader.check()
    before = world.stored()
    world.api.put(configuration("somebody else's"))
    await leader.check()
    assert world.bundles == [world.stored("ca.crt")] * 2
    assert world.stored() == before
    written = len(world.api.requests(writes=True))
    await leader.check()
    assert len(world.api.requests(writes=True)) == written, "nothing differs, nothing is written"


async def test_trust_comes_before_use(world: World) -> None:
    """At a renewal the API server knows old and new before anything serves the new one."""
    leader = world.replica()
    await leader.check()
    old = world.stored("ca.crt")
    world.clock.now += LIFE * 0.6
    await leader.check()
    assert world.stored("ca.crt") == old, "it is not yet time"
    world.clock.now += LIFE * 0.1
    seen = len(world.api.requests(writes=True))
    await leader.check()
    order = [(each.verb, each.plural) for each in world.api.requests(writes=True)[seen:]]
    assert order == [("patch", "validatingwebhookconfigurations"), ("update", "secrets")]
    new, second = x509.load_pem_x509_certificates(world.stored("ca.crt").encode())
    assert second == x509.load_pem_x509_certificate(old.encode())
    assert new.subject != second.subject
    assert world.bundles == [world.stored("ca.crt")] * 2


async def test_old_trust_ends_with_the_next_generation(world: World) -> None:
    """No more than two authorities are trusted, however long it runs."""
    leader = world.replica()
    for _ in range(4):
        await leader.check()
        world.clock.now += LIFE * 0.7
    assert world.bundles[0].count("BEGIN CERTIFICATE") == 2


# ---- what is not ours, what is missing


async def test_a_secret_of_another_manager_is_served_and_never_written(world: World) -> None:
    """cert-manager's certificate is taken as it is, again after each change; the caBundle is its affair too."""
    theirs = make_keys(("theirs.example.com",), now=NOW)
    world.put_secret(theirs, labels={})
    leader = world.replica()
    await leader.check()
    assert leader.keys is not None
    assert leader.keys.chain == theirs.chain
    renewed = make_keys(("theirs.example.com",), now=NOW)
    world.put_secret(renewed, labels={})
    await leader.check()
    assert leader.keys.chain == renewed.chain
    assert world.api.requests(writes=True) == []


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((), "secrets 'pyngress-webhook' in namespace ingress"),
        (RIGHTS.rules[:2], "validatingwebhookconfigurations 'pyngress'"),
    ],
)
async def test_a_missing_right_is_said_once(tmp_path: Path, rules: tuple[Rule, ...], told: str) -> None:
    """The log names the right, once, however often it is missed."""
    async with running(tmp_path, user=User(name="controller", rules=rules)) as world:
        leader = world.replica()
        with logged() as entries:
            for _ in range(3):
                await leader.check()
        (warning,) = warnings_of(entries)
    assert told in warning
    assert "needs the right" in warning


async def test_without_a_configuration_it_serves_and_says_so_once(world: World) -> None:
    """And trusts are set when the configuration comes."""
    world.api.remove("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", NAME)
    leader = world.replica()
    with logged() as entries:
        await leader.check()
        await leader.check()
    assert leader.keys is not None
    (warning,) = warnings_of(entries)
    assert "there is no validatingwebhookconfigurations 'pyngress'" in warning
    world.api.put(configuration())
    await leader.check()
    assert world.bundles == [world.stored("ca.crt")] * 2


async def test_an_api_server_that_is_away_ends_nothing(world: World) -> None:
    """The certificate stays in use, the fault is logged once, and the next look goes on."""
    leader = world.replica()
    await leader.check()
    keys = leader.keys
    await world.api.stop()
    with logged() as entries:
        await leader.check()
        await leader.check()
    assert leader.keys is keys
    assert len(warnings_of(entries)) == 1
    await world.api.start()
    world.clock.now += LIFE * 0.7
    await leader.check()
    assert leader.keys != keys


# ---- running


async def test_it_looks_again_by_itself_and_when_woken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon as long as there is nothing to serve, rarely later, at once when this replica became the leader."""
    monkeypatch.setattr(webhook_certificate, "FIRST_INTERVAL", 0.02)
    leads = False
    replica = WebhookCertificate(world.client, name=NAME, namespace=NAMESPACE, is_leader=lambda: leads, now=world.clock)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running_one = tasks.create_task(replica.run())
        await asyncio.sleep(0.1)
        assert replica.keys is None
        leads = True
        while replica.keys is None:
            await asyncio.sleep(0.01)
        first = replica.keys
        world.clock.now += LIFE * 0.7
        await asyncio.sleep(0.1)
        assert replica.keys is first
        replica.wake()
        while replica.keys is first:
            await asyncio.sleep(0.01)
        running_one.cancel()


async def shown(port: int) -> str:
    """The certificate that a new connection gets."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=5)


async def test_renewal_under_requests_is_not_noticed(world: World) -> None:
    """Reviews go on over open and new connections through three renewals; each new handshake shows the newest one. One
    that began before a renewal has time to end."""
    world.spread = 0.5
    world.clock.now = datetime.datetime.now(datetime.UTC)  # the client judges the dates
    leader = world.replica()
    await leader.check()
    served, stop = 0, False

    async def ask(session: aiohttp.ClientSession, port: int, *, fresh: bool) -> None:
        nonlocal served
        kept = ssl.create_default_context(cadata=world.bundles[0])
        while not stop:
            tls = ssl.create_default_context(cadata=world.bundles[0]) if fresh else kept
            headers = {"Connection": "close"} if fresh else {}
            async with session.post(
                f"https://127.0.0.1:{port}/validate",
                data=asked(ingress()),
                ssl=tls,
                server_hostname=NAMES[1],
                headers=headers,
            ) as response:
                assert response.status == 200
            served += 1

    chains = set()
    async with (
        serving(context=leader.context) as server,
        aiohttp.ClientSession() as keeping,
        aiohttp.ClientSession() as closing,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ask(keeping, server.port, fresh=False))
        tasks.create_task(ask(closing, server.port, fresh=True))
        for _ in range(3):
            # The test has no months: the generation is due because its names do not fit any more.
            leader._names = (*leader._names, f"n{len(leader._names)}.example.com")
            await leader.check()
            assert leader.keys is not None
            chains.add(leader.keys.chain)
            assert await shown(server.port) == leader.keys.chain
        stop = True
    assert len(chains) == 3
    assert served > 10


async def test_without_a_certificate_handshakes_fail_and_nothing_else(world: World) -> None:
    """Until there is one, the API server's failure policy decides."""
    replica = world.replica(leads=False)
    async with serving(context=replica.context) as server:
        with pytest.raises(ssl.SSLError):
            await shown(server.port)
        await world.replica().check()
        await replica.check()
        assert await shown(server.port) == world.stored()


def test_a_context_needs_a_whole_pair() -> None:
    """A key of another certificate is refused when it is loaded, not in a handshake."""
    mixed = msgspec.structs.replace(make_keys(NAMES, now=NOW), key=make_keys(NAMES, now=NOW).key)
    with pytest.raises(ssl.SSLError):
        server_context(mixed)


# ---- the whole way


async def test_the_api_server_asks_and_obeys(tmp_path: Path) -> None:
    """From a write at the API server over its webhook call to the refusal and the warnings that the writer sees."""

    async def judge(each: Ingress) -> Sequence[Problem] | None:
        bad = each.spec.rules[0].host == "taken.example.com"
        return (problem("PathConflict", message="is taken"),) if bad else (problem("NoEndpoints"),)

    admin = User(name="admin", groups=("system:masters",))
    async with running(tmp_path, user=admin) as world:
        world.clock.now = datetime.datetime.now(datetime.UTC)
        world.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        leader = world.replica()
        await leader.check()
        url = f"{world.api.url}/apis/networking.k8s.io/v1/namespaces/shop/ingresses"
        headers = {"Authorization": "Bearer token"}
        async with serving(judge, leader.context) as server, aiohttp.ClientSession(headers=headers) as session:
            world.api.state.webhook_services = {(NAMESPACE, NAME): server.port}
            async with session.post(url, json=ingress("taken.example.com")) as response:
                assert response.status == 422
                told = (await response.json())["message"]
            assert told == (
                'admission webhook "one.pyngress.io" denied the request: '
                "Ingress shop/web: spec.rules[0]: PathConflict: is taken"
            )
            async with session.post(url, json=ingress()) as response:
                assert response.status == 201
                assert "NoEndpoints: is bad" in response.headers["Warning"]
            async with session.delete(f"{url}/web") as response:
                assert response.status == 200
