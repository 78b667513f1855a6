"""The emulated API server behaves as a real one where clients can tell the difference."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from tests.support.apiserver import ADMIN, ApiServer, Rule, User, api_server, fill, ingress, service, slice_of

NETWORKING = "/apis/networking.k8s.io/v1"
INGRESSES = f"{NETWORKING}/namespaces/default/ingresses"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
MERGE = "application/merge-patch+json"
Json = dict[str, Any]


class Client:
    """HTTP to the server: status and decoded body."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", token: str = "", **query: Any
    ) -> tuple[int, Json]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
        params = {key: str(value) for key, value in query.items()}
        url = self.server.url + path
        async with self.session.request(method, url, data=data, headers=headers, params=params) as response:
            self.headers = response.headers
            return response.status, await response.json()

    async def watch(self, path: str, **query: Any) -> list[Json]:
        """All events until the server ends the watch."""
        params = {"watch": "1", "timeoutSeconds": "0.2"} | {key: str(value) for key, value in query.items()}
        async with self.session.get(self.server.url + path, params=params) as response:
            assert response.headers["Transfer-Encoding"] == "chunked"
            return [json.loads(line) async for line in response.content]


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> Json:
    metadata = {"name": name, "namespace": "default"} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def kinds(events: list[Json]) -> list[tuple[str, str]]:
    return [(each["type"], each["object"]["metadata"].get("name", "")) for each in events]


def version(value: Json) -> str:
    text: str = value["metadata"]["resourceVersion"]
    return text


async def test_create_fills_metadata_and_refuses_a_second(client: Client) -> None:
    """uid, time, generation 1, no status from outside; a twin is AlreadyExists, an unknown namespace NotFound."""
    body = ingress("web", "a.example.com") | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    code, made = await client.ask("POST", INGRESSES, body)
    assert code == 201
    assert made["status"] == {"loadBalancer": {}}
    assert made["metadata"]["generation"] == 1
    assert made["metadata"].keys() >= {"uid", "creationTimestamp", "resourceVersion"}
    code, status = await client.ask("POST", INGRESSES, body)
    assert (code, status["kind"], status["reason"]) == (409, "Status", "AlreadyExists")
    assert status["details"] == {"name": "web", "group": "networking.k8s.io", "kind": "ingresses"}
    code, status = await client.ask("POST", "/api/v1/namespaces/gone/configmaps", {"metadata": {"name": "x"}})
    assert (code, status["message"]) == (404, 'namespaces "gone" not found')


async def test_a_stale_update_is_a_conflict_and_the_same_value_no_change(client: Client) -> None:
    """The version moves only when something did; the generation only when the spec did."""
    _, first = await client.ask("POST", INGRESSES, ingress("web", "a.example.com"))
    code, same = await client.ask("PUT", f"{INGRESSES}/web", first)
    assert (code, version(same)) == (200, version(first))
    labelled = first | {"metadata": first["metadata"] | {"labels": {"a": "b"}}}
    _, second = await client.ask("PUT", f"{INGRESSES}/web", labelled)
    assert int(version(second)) > int(version(first))
    assert second["metadata"]["generation"] == 1
    code, status = await client.ask("PUT", f"{INGRESSES}/web", first)
    assert (code, status["reason"]) == (409, "Conflict")
    changed = second | {"spec": ingress("web", "b.example.com")["spec"]}
    _, third = await client.ask("PUT", f"{INGRESSES}/web", changed)
    assert third["metadata"]["generation"] == 2


async def test_status_and_spec_are_written_apart(client: Client) -> None:
    """Neither door lets the other's part through."""
    await client.ask("POST", INGRESSES, ingress("web", "a.example.com"))
    address = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    patch = {"status": address, "spec": {"rules": []}, "metadata": {"labels": {"a": "b"}}}
    _, value = await client.ask("PATCH", f"{INGRESSES}/web/status", patch, kind=MERGE)
    assert value["status"] == address
    assert value["spec"]["rules"]
    assert "labels" not in value["metadata"]
    _, value = await client.ask("PATCH", f"{INGRESSES}/web", {"status": {"loadBalancer": {}}}, kind=MERGE)
    assert value["status"] == address
    assert value["metadata"]["generation"] == 1


async def test_patches_merge_edit_and_apply(client: Client) -> None:
    """Merge patch, JSON patch with its test, apply that creates, then merges; a version in a patch is a condition."""
    code, made = await client.ask(
        "PATCH", f"{CONFIGMAPS}/c", b"data: {a: '1'}", kind="application/apply-patch+yaml", fieldManager="test"
    )
    assert (code, made["data"]) == (201, {"a": "1"})
    code, value = await client.ask(
        "PATCH", f"{CONFIGMAPS}/c", b"data: {b: '2'}", kind="application/apply-patch+yaml", fieldManager="test"
    )
    assert (code, value["data"]) == (200, {"a": "1", "b": "2"})
    _, value = await client.ask("PATCH", f"{CONFIGMAPS}/c", {"data": {"a": None, "c": "3"}}, kind=MERGE)
    assert value["data"] == {"b": "2", "c": "3"}
    edits = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "replace", "path": "/data/b", "value": "4"}]
    json_patch = "application/json-patch+json"
    assert (await client.ask("PATCH", f"{CONFIGMAPS}/c", edits, kind=json_patch))[1]["data"]["b"] == "4"
    assert (await client.ask("PATCH", f"{CONFIGMAPS}/c", edits, kind=json_patch))[0] == 422
    stale = {"metadata": {"resourceVersion": version(made)}, "data": {"b": "5"}}
    assert (await client.ask("PATCH", f"{CONFIGMAPS}/c", stale, kind=MERGE))[0] == 409


async def test_custom_resources_and_leases_are_stricter(client: Client) -> None:
    """No strategic merge patch for custom kinds; a Lease update needs a version, and creates what is missing."""
    path = "/apis/pyngress.io/v1alpha1/namespaces/default/trafficpolicies"
    assert (await client.ask("POST", path, {"metadata": {"name": "p"}, "spec": {}}))[0] == 201
    strategic = "application/strategic-merge-patch+json"
    assert (await client.ask("PATCH", f"{path}/p", {"spec": {"a": 1}}, kind=strategic))[0] == 415
    lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    code, made = await client.ask("PUT", lease, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    assert code == 201
    unversioned = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}}
    assert (await client.ask("PUT", lease, unversioned))[0] == 422
    assert (await client.ask("PUT", lease, made | {"spec": {"holderIdentity": "b"}}))[0] == 200


async def test_delete_waits_for_finalizers_and_keeps_preconditions(client: Client) -> None:
    """Success is a Status; deletecollection obeys its selector; a namespace takes everything with it."""
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.ask("POST", CONFIGMAPS, held)
    _, waiting = await client.ask("DELETE", f"{CONFIGMAPS}/held")
    assert waiting["metadata"]["deletionTimestamp"]
    await client.ask("PATCH", f"{CONFIGMAPS}/held", {"metadata": {"finalizers": []}}, kind=MERGE)
    assert (await client.ask("GET", f"{CONFIGMAPS}/held"))[0] == 404
    await client.ask("POST", CONFIGMAPS, config("a", {"x": "1"}))
    await client.ask("POST", CONFIGMAPS, config("b"))
    assert (await client.ask("DELETE", f"{CONFIGMAPS}/a", {"preconditions": {"uid": "other"}}))[0] == 409
    _, status = await client.ask("DELETE", f"{CONFIGMAPS}/b")
    assert (status["status"], status["details"]["name"]) == ("Success", "b")
    _, gone = await client.ask("DELETE", CONFIGMAPS, labelSelector="x=1")
    assert [each["metadata"]["name"] for each in gone["items"]] == ["a"]
    await client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    await client.ask("POST", "/api/v1/namespaces/team/configmaps", {"metadata": {"name": "x"}})
    await client.ask("DELETE", "/api/v1/namespaces/team")
    assert (await client.ask("GET", "/api/v1/configmaps"))[1]["items"] == []


async def test_pages_show_one_moment_and_expire(server: ApiServer, client: Client) -> None:
    """What comes after the first page began is in none; a compacted token is 410; version 0 knows no pages."""
    for name in "abc":
        server.put(config(name))
    _, first = await client.ask("GET", CONFIGMAPS, limit=2)
    assert first["metadata"]["remainingItemCount"] == 1
    assert "kind" not in first["items"][0]
    server.put(config("d"))
    token = first["metadata"]["continue"]
    _, second = await client.ask("GET", CONFIGMAPS, **{"limit": 2, "continue": token})
    assert [each["metadata"]["name"] for each in second["items"]] == ["c"]
    assert version(second) == version(first)
    assert "continue" not in second["metadata"]
    _, again = await client.ask("GET", CONFIGMAPS, limit=2)
    server.compact()
    code, status = await client.ask("GET", CONFIGMAPS, **{"limit": 2, "continue": again["metadata"]["continue"]})
    assert (code, status["reason"]) == (410, "Expired")
    _, cached = await client.ask("GET", CONFIGMAPS, limit=2, resourceVersion=0)
    assert len(cached["items"]) == 4
    code, status = await client.ask("GET", CONFIGMAPS, resourceVersion=10_000)
    assert (code, status["reason"]) == (504, "Timeout")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("app=web", "a"),
        ("app!=web", "bc"),
        ("app in (web, db)", "ab"),
        ("app notin (web)", "bc"),
        ("app notin (web),tier", "b"),
        ("!app", "c"),
        ("app==db,tier=back", "b"),
    ],
)
async def test_label_selectors(server: ApiServer, client: Client, selector: str, found: str) -> None:
    """Equality and sets, joined by commas; a missing label is unequal and outside every set."""
    server.put(config("a", {"app": "web"}))
    server.put(config("b", {"app": "db", "tier": "back"}))
    server.put(config("c"))
    _, listed = await client.ask("GET", CONFIGMAPS, labelSelector=selector)
    assert "".join(each["metadata"]["name"] for each in listed["items"]) == found


async def test_field_selectors(server: ApiServer, client: Client) -> None:
    """Names everywhere, the object of an event, and 400 for a field that the kind does not select by."""
    first = server.put(config("a"))
    assert server.put(config("a")) == first
    server.put(config("b"))
    _, listed = await client.ask(
        "GET", "/api/v1/configmaps", fieldSelector="metadata.name=b,metadata.namespace=default"
    )
    assert [each["metadata"]["name"] for each in listed["items"]] == ["b"]
    assert (await client.ask("GET", CONFIGMAPS, fieldSelector="data.x=1"))[0] == 400
    event = {"metadata": {"name": "e"}, "regarding": {"kind": "Ingress", "name": "web"}, "note": "hello"}
    code, made = await client.ask("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event)
    assert (code, made["apiVersion"], made["note"]) == (201, "events.k8s.io/v1", "hello")
    _, core = await client.ask("GET", "/api/v1/events", fieldSelector="involvedObject.name=web")
    assert core["items"][0]["message"] == "hello"


async def test_a_watch_goes_on_from_a_list(server: ApiServer, client: Client) -> None:
    """Every change once and in order; without a version the present objects come first."""
    server.put(config("a"))
    _, listed = await client.ask("GET", CONFIGMAPS)
    server.put(config("a", x="1"))
    server.put(config("b"))
    server.remove("v1", "ConfigMap", "a", "default")
    events = await client.watch(CONFIGMAPS, resourceVersion=version(listed))
    assert kinds(events) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert events[0]["object"]["kind"] == "ConfigMap"
    versions = [int(version(each["object"])) for each in events]
    assert versions == sorted(set(versions))
    assert kinds(await client.watch(CONFIGMAPS)) == [("ADDED", "b")]
    assert kinds(await client.watch(CONFIGMAPS, resourceVersion=0)) == [("ADDED", "b")]


async def test_live_events_arrive_at_once(server: ApiServer, client: Client) -> None:
    """A change reaches an open watch within milliseconds, not at its end."""
    url = f"{server.url}{CONFIGMAPS}?watch=1&timeoutSeconds=10"
    async with client.session.get(url) as response:
        server.put(config("a"))
        line = await asyncio.wait_for(response.content.readline(), 1.0)
        assert json.loads(line)["type"] == "ADDED"


async def test_a_selected_watch_adds_and_deletes_as_objects_come_to_match(server: ApiServer, client: Client) -> None:
    """What ceases to match is deleted with its last matching state under the new version."""
    server.put(config("a"))
    _, listed = await client.ask("GET", CONFIGMAPS)
    server.put(config("a", {"on": "1"}))
    last = server.put(config("a", {"on": "0"}))
    events = await client.watch(CONFIGMAPS, resourceVersion=version(listed), labelSelector="on=1")
    assert kinds(events) == [("ADDED", "a"), ("DELETED", "a")]
    assert events[1]["object"]["metadata"]["labels"] == {"on": "1"}
    assert version(events[1]["object"]) == version(last)


async def test_bookmarks(server: ApiServer, client: Client) -> None:
    """On request only: between events, before the end, and after the initial events of a streamed list."""
    server.state.bookmark_interval = 0.05
    server.put(config("a"))
    _, listed = await client.ask("GET", CONFIGMAPS)
    server.put(service("s"))
    now = str(server.storage.version)
    assert await client.watch(CONFIGMAPS, resourceVersion=version(listed)) == []
    events = await client.watch(CONFIGMAPS, resourceVersion=version(listed), allowWatchBookmarks="true")
    assert {each["type"] for each in events} == {"BOOKMARK"}
    assert len(events) > 1
    assert {version(each["object"]) for each in events} == {now}
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    events = await client.watch(CONFIGMAPS, **query, allowWatchBookmarks="true")
    assert [each["type"] for each in events][:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_compacted_version_is_gone(server: ApiServer, client: Client) -> None:
    """In the stream, or as HTTP 410; an open watch gets it too when told so."""
    server.put(config("a"))
    _, listed = await client.ask("GET", CONFIGMAPS)
    server.put(config("b"))
    server.compact()
    (event,) = await client.watch(CONFIGMAPS, resourceVersion=version(listed))
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    server.faults.gone_as_http = True
    code, _ = await client.ask("GET", CONFIGMAPS, watch=1, resourceVersion=version(listed))
    assert code == 410
    url = f"{server.url}{CONFIGMAPS}?watch=1&resourceVersion={server.storage.version}"
    async with client.session.get(url) as response:
        server.expire_watches()
        assert json.loads(await response.content.readline())["object"]["code"] == 410
        assert await response.content.read() == b""


async def test_rights_are_those_of_rules_and_stored_roles(tmp_path: Path) -> None:
    """A list of one name counts as that name; an unknown token is 401; what was tried is in the log."""
    secret = Rule(verbs=("get", "list", "watch"), resources=("secrets",), namespaces=("default",), names=("tls",))
    users = {"root": ADMIN, "ruled": User(name="ruled", rules=(secret,)), "bound": User(name="bound")}
    async with api_server(users=users) as server, aiohttp.ClientSession() as session:
        client = Client(server, session)
        assert (await client.ask("GET", SECRETS))[0] == 401
        code, status = await client.ask("GET", SECRETS, token="ruled")
        assert (code, status["reason"]) == (403, "Forbidden")
        assert 'User "ruled" cannot list resource "secrets"' in status["message"]
        assert (await client.ask("GET", SECRETS, token="ruled", fieldSelector="metadata.name=tls"))[0] == 200
        assert (await client.ask("GET", f"{SECRETS}/other", token="ruled"))[0] == 403
        assert (await client.ask("GET", CONFIGMAPS, token="bound"))[0] == 403
        rbac = "rbac.authorization.k8s.io"
        meta = {"name": "r", "namespace": "default"}
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
        server.put({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules})
        binding: Json = {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta}
        binding["roleRef"] = {"apiGroup": rbac, "kind": "Role", "name": "r"}
        server.put(binding | {"subjects": [{"apiGroup": rbac, "kind": "User", "name": "bound"}]})
        assert (await client.ask("GET", CONFIGMAPS, token="bound"))[0] == 200
        assert (await client.ask("GET", "/api/v1/configmaps", token="bound"))[0] == 403
        tried = [(each.verb, each.plural, each.code) for each in server.requests(user="bound")]
        assert tried == [("list", "configmaps", 403), ("list", "configmaps", 200), ("list", "configmaps", 403)]


async def test_an_ingress_is_checked_and_gets_the_default_class(server: ApiServer, client: Client) -> None:
    """422 names the field; only an Ingress without any class gets the default one; a controller never changes."""
    bad = ingress("bad", "a.example.com")
    del bad["spec"]["rules"][0]["http"]["paths"][0]["pathType"]
    code, status = await client.ask("POST", INGRESSES, bad)
    assert (code, status["details"]["causes"][0]["field"]) == (422, "spec.rules[0].http.paths[0].pathType")
    ours: Json = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "a.com/b"}}
    annotation = {"ingressclass.kubernetes.io/is-default-class": "true"}
    ours["metadata"] = {"name": "ours", "annotations": annotation}
    server.put(ours)
    plain = ingress("plain", "a.example.com")
    del plain["spec"]["ingressClassName"]
    assert (await client.ask("POST", INGRESSES, plain))[1]["spec"]["ingressClassName"] == "ours"
    named = ingress("named", "b.example.com")
    assert (await client.ask("POST", INGRESSES, named))[1]["spec"]["ingressClassName"] == "pyngress"
    other = {"spec": {"controller": "a.com/c"}}
    assert (await client.ask("PATCH", f"{NETWORKING}/ingressclasses/ours", other, kind=MERGE))[0] == 422


async def test_webhooks_deny_warn_and_fail_by_policy(server: ApiServer, client: Client) -> None:
    """Over https with the authority of the configuration, by url or by Service; a dead one counts by its policy."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hook.team.svc", "127.0.0.1").configure_cert(context)
    reviews: list[Json] = []

    async def review(request: web.BaseRequest) -> web.Response:
        asked = (await request.json())["request"]
        reviews.append(asked)
        allowed = not asked["name"].startswith("bad")
        answer = {"uid": asked["uid"], "allowed": allowed, "warnings": ["look out"]}
        if not allowed:
            answer["status"] = {"message": "no such luck"}
        body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": answer}
        return web.json_response(body)

    hook_server = web.Server(review)
    listener = await asyncio.get_running_loop().create_server(hook_server, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    server.state.webhook_services["team", "hook"] = port
    by_service: Json = {"service": {"namespace": "team", "name": "hook", "path": "/validate"}}
    by_url = {"url": f"https://127.0.0.1:{port}/validate"}
    import base64

    bundle = {"caBundle": base64.b64encode(authority.cert_pem.bytes()).decode()}
    rule = {"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"]}
    hook: Json = {"name": "check.example.com", "rules": [rule | {"operations": ["CREATE", "UPDATE"]}]}

    def configure(**fields: Any) -> None:
        meta = {"name": "hooks"}
        kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
        server.put(kind | {"metadata": meta, "webhooks": [hook | fields]})

    configure(clientConfig=by_service | bundle)
    assert (await client.ask("POST", INGRESSES, ingress("good", "a.example.com")))[0] == 201
    assert client.headers["Warning"] == '299 - "look out"'
    assert (reviews[0]["operation"], reviews[0]["oldObject"], reviews[0]["namespace"]) == ("CREATE", None, "default")
    code, status = await client.ask("POST", INGRESSES, ingress("bad", "a.example.com"))
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == 'admission webhook "check.example.com" denied the request: no such luck'
    configure(clientConfig=by_url | bundle)
    assert (await client.ask("POST", INGRESSES, ingress("bad2", "a.example.com")))[0] == 403
    configure(clientConfig=by_url)
    assert (await client.ask("POST", INGRESSES, ingress("x", "a.example.com")))[0] == 500
    configure(clientConfig=by_url, failurePolicy="Ignore")
    assert (await client.ask("POST", INGRESSES, ingress("x", "a.example.com")))[0] == 201
    listener.close()
    await hook_server.shutdown(0.1)


async def test_killed_and_back_it_knows_everything(server: ApiServer, client: Client) -> None:
    """Connections are cut, the port refuses, and afterwards versions go on where they were."""
    server.put(config("a"))
    before = server.storage.version
    async with client.session.get(f"{server.url}{CONFIGMAPS}?watch=1&resourceVersion={before}") as response:
        await server.stop()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.ask("GET", CONFIGMAPS)
    await server.start()
    assert version((await client.ask("GET", CONFIGMAPS))[1]) == str(before)


async def test_faults_on_demand(server: ApiServer, client: Client) -> None:
    """Failures by verb and kind, used up one by one; events twice, late, or never; slow lists."""
    server.faults.fail(429, 1, verb="list", plural="configmaps", retry_after=3)
    assert (await client.ask("GET", SECRETS))[0] == 200
    code, status = await client.ask("GET", CONFIGMAPS)
    assert (code, client.headers["Retry-After"], status["reason"]) == (429, "3", "TooManyRequests")
    assert (await client.ask("GET", CONFIGMAPS))[0] == 200
    server.put(config("a"))
    server.faults.duplicate_events = True
    assert kinds(await client.watch(CONFIGMAPS)) == [("ADDED", "a")] * 2
    server.faults.clear()
    server.faults.list_delay = 0.1
    began = time.monotonic()
    await client.ask("GET", CONFIGMAPS)
    assert time.monotonic() - began >= 0.1
    server.faults.clear()
    url = f"{server.url}{CONFIGMAPS}?watch=1&resourceVersion={server.storage.version}"
    async with client.session.get(url) as response:
        server.stall_watches()
        server.put(config("b"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readline(), 0.2)
    assert kinds(await client.watch(CONFIGMAPS)) == [("ADDED", "a"), ("ADDED", "b")]


async def test_ten_thousand_objects_are_listed_quickly(server: ApiServer, client: Client) -> None:
    """Their JSON is kept per version, so a list is a join."""
    fill(server.storage, ingresses=10_000)
    began = time.process_time()
    async with client.session.get(f"{server.url}{NETWORKING}/ingresses") as response:
        body = await response.read()
    assert time.process_time() - began < 1.0
    assert len(json.loads(body)["items"]) == 10_000


async def test_kubectl_like_discovery(client: Client) -> None:
    """Groups, versions and resources, with status where there is one."""
    _, found = await client.ask("GET", "/apis")
    assert "networking.k8s.io" in [each["name"] for each in found["groups"]]
    _, found = await client.ask("GET", NETWORKING)
    assert {"ingresses", "ingresses/status", "ingressclasses"} <= {each["name"] for each in found["resources"]}
    assert (await client.ask("GET", "/apis/unknown.io/v1"))[0] == 404


async def test_as_a_process_with_faults_over_http(tmp_path: Path) -> None:
    """It says where it listens, fills itself, and comes back after a restart."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.apiserver", "--ingresses", "3", "--kubeconfig", str(tmp_path / "k")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
    try:
        assert url in (tmp_path / "k").read_text()
        async with aiohttp.ClientSession() as session:

            async def items() -> int:
                async with session.get(f"{url}{NETWORKING}/ingresses") as response:
                    return len((await response.json())["items"])

            assert await items() == 3
            async with session.post(f"{url}/_control/fail", json={"code": 500}) as response:
                assert response.status == 200
            async with session.get(f"{url}{NETWORKING}/ingresses") as response:
                assert response.status == 500
            async with session.post(f"{url}/_control/restart", json={"seconds": 0.1}):
                pass
            await asyncio.sleep(0.5)
            assert await items() == 3
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_slices_of_a_service_are_found_by_their_label(server: ApiServer, client: Client) -> None:
    """As controllers look for them."""
    server.put(slice_of("web", ["10.0.0.1"], 8080))
    server.put(slice_of("other", ["10.0.0.2"], 8080))
    path = "/apis/discovery.k8s.io/v1/endpointslices"
    _, found = await client.ask("GET", path, labelSelector="kubernetes.io/service-name=web")
    assert [each["metadata"]["name"] for each in found["items"]] == ["web-1"]
