"""What the admission webhook refuses, what it warns on, and what it lets pass; without a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ingress.admin.admission import (
    MAX_BODY,
    MAX_ERRORS,
    MAX_LINE,
    MAX_WARNING,
    MAX_WARNINGS,
    ReviewError,
    Verdict,
    encode_verdict,
    plain,
    read_review,
)
from ingress.admin.review import review
from ingress.resources import Ingress, ObjectRef, Problem, Severity

BACKEND = {"service": {"name": "front", "port": {"number": 80}}}
PATH = {"path": "/", "pathType": "Prefix", "backend": BACKEND}


def ingress(host: str = "a.example.com", *, spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    given = {"ingressClassName": "pyngress", "rules": [{"host": host, "http": {"paths": [PATH]}}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2030-01-31T12:00:00Z", **metadata},
        "spec": given if spec is None else spec,
    }


def asked(new: Any, old: Any = None, **more: Any) -> bytes:
    request = {
        "uid": "u-1",
        "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
        "operation": "CREATE" if old is None else "UPDATE",
        "name": "web",
        "namespace": "shop",
        "object": new,
        "oldObject": old,
        "dryRun": False,
    }
    return msgspec.json.encode(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, **more}}
    )


def problem(
    reason: str, field: str = "spec.rules[0]", severity: Severity = "error", message: str = "is bad"
) -> Problem:
    ref = ObjectRef(kind="Ingress", namespace="shop", name="web")
    return Problem(object=ref, field=field, reason=reason, message=message, severity=severity)


class Judge:
    """Finds what it is told to find, in every Ingress or in those of a host; remembers whom it judged."""

    def __init__(self, *problems: Problem, hosts: Sequence[str] = ()) -> None:
        self.problems = problems
        self.hosts = hosts
        self.judged: list[Ingress] = []

    async def __call__(self, ingress: Ingress) -> Sequence[Problem] | None:
        self.judged.append(ingress)
        if ingress.spec.ingress_class_name not in (None, "pyngress"):
            return None
        if self.hosts and not any(rule.host in self.hosts for rule in ingress.spec.rules):
            return ()
        return self.problems


async def verdict(body: bytes, judge: Judge | None = None) -> Verdict:
    return await review(read_review(body), judge or Judge())


def reasons(problems: Sequence[Problem]) -> list[str]:
    return [each.reason for each in problems]


# ---- refused and warned


async def test_a_good_ingress_is_allowed_without_a_word() -> None:
    """Nothing wrong: allowed, no warning, and the judge was asked once."""
    judge = Judge()
    assert await verdict(asked(ingress()), judge) == Verdict()
    assert len(judge.judged) == 1


async def test_an_error_of_the_object_refuses() -> None:
    """What the decoder and what the judge call an error both refuse, and stand in the message."""
    found = await verdict(asked(ingress("UPPER.example.com")), Judge(problem("PathConflict")))
    assert sorted(reasons(found.errors)) == ["InvalidValue", "PathConflict"]
    response = msgspec.json.decode(encode_verdict("u-1", found))["response"]
    assert (response["uid"], response["allowed"], response["status"]["code"]) == ("u-1", False, 422)
    message = response["status"]["message"]
    assert message.startswith("Ingress shop/web has 2 errors:\n")
    assert "\n- spec.rules[0].host: InvalidValue: " in message
    assert "\n- spec.rules[0]: PathConflict: is bad" in message


async def test_a_warning_only_warns() -> None:
    """Severity "warning" is shown and does not refuse."""
    found = await verdict(asked(ingress()), Judge(problem("UnknownAnnotation", severity="warning")))
    assert found.allowed
    response = msgspec.json.decode(encode_verdict("u-1", found))["response"]
    assert response == {
        "uid": "u-1",
        "allowed": True,
        "warnings": ["pyngress: Ingress shop/web: spec.rules[0]: UnknownAnnotation: is bad"],
    }


@pytest.mark.parametrize(
    "reason",
    ["ServiceNotFound", "PortNotFound", "SecretNotFound", "ResponseNotFound", "NoEndpoints", "BadCertificate"],
)
async def test_what_other_objects_lack_never_refuses(reason: str) -> None:
    """An error about another object, which may come later, is a warning."""
    found = await verdict(asked(ingress()), Judge(problem(reason)))
    assert (found.allowed, reasons(found.warnings)) == (True, [reason])


async def test_a_field_that_is_newer_than_this_controller_never_refuses() -> None:
    """The API server's schema decides which fields exist."""
    found = await verdict(asked(ingress() | {"spec": ingress()["spec"] | {"fromTheFuture": 1}}))
    assert (found.allowed, reasons(found.warnings)) == (True, ["UnknownField"])


# ---- not ours, not judged


@pytest.mark.parametrize("host", ["a.example.com", "UPPER.example.com"])
async def test_ingresses_of_other_classes_pass_untouched(host: str) -> None:
    """Another controller's Ingress is neither refused nor warned on, however wrong it looks to us."""
    other = ingress(host)
    other["spec"]["ingressClassName"] = "other"
    assert await verdict(asked(other), Judge(problem("PathConflict"))) == Verdict()


async def test_a_class_that_nobody_defines_only_warns() -> None:
    """Its author hears of the slip; what else is wrong is for the class's controller to say."""
    found = await verdict(asked(ingress("UPPER.example.com")), Judge(problem("ClassNotFound", severity="warning")))
    assert (found.allowed, reasons(found.warnings)) == (True, ["ClassNotFound"])


async def test_an_unusable_ingress_is_ours_or_not_by_its_class() -> None:
    """Where nothing of it can be read, its class still decides: ours is refused, another's is not."""
    broken = ingress()
    broken["metadata"]["labels"] = "rubbish"
    found = await verdict(asked(broken), Judge(problem("NothingToServe", severity="warning")))
    assert reasons(found.errors) == ["InvalidType"]
    assert found.warnings == (), "what an Ingress without its rules lacks is not to be told"
    broken["spec"]["ingressClassName"] = "other"
    assert await verdict(asked(broken)) == Verdict()


@pytest.mark.parametrize(
    "more",
    [
        {"operation": "DELETE", "object": None},
        {"operation": "CONNECT"},
        {"subResource": "status"},
        {"kind": {"group": "", "version": "v1", "kind": "Service"}},
        {"kind": {"group": "extra.example.com", "version": "v1", "kind": "Ingress"}},
    ],
)
async def test_other_operations_and_kinds_are_allowed(more: dict[str, Any]) -> None:
    """Deleting, subresources and kinds of others are never refused, and nobody is asked."""
    judge = Judge(problem("PathConflict"))
    assert await verdict(asked(ingress("UPPER.example.com"), **more), judge) == Verdict()
    assert judge.judged == []


async def test_an_object_on_its_way_out_can_lose_its_finalizers() -> None:
    """A deletion timestamp ends all judging."""
    gone = ingress("UPPER.example.com", deletionTimestamp="2030-02-01T00:00:00Z")
    assert await verdict(asked(gone, ingress("UPPER.example.com", finalizers=["a/b"]))) == Verdict()


# ---- updates


async def test_a_change_of_nothing_that_is_read_is_allowed_at_once() -> None:
    """Status, managed fields and finalizers may change on the worst object, without a warning."""
    judge = Judge(problem("PathConflict"))
    new = ingress("UPPER.example.com", managedFields=[{"manager": "x"}], resourceVersion="2", finalizers=["a/b"])
    old = ingress("UPPER.example.com", resourceVersion="1")
    assert await verdict(asked(new | {"status": {"loadBalancer": {}}}, old), judge) == Verdict()
    assert judge.judged == []


async def test_an_old_error_does_not_refuse_a_change() -> None:
    """What was wrong before only warns, so a broken object can still be labelled."""
    judge = Judge(problem("PathConflict"))
    found = await verdict(asked(ingress(labels={"a": "b"}), ingress()), judge)
    assert (reasons(found.errors), reasons(found.warnings)) == ([], ["PathConflict"])


async def test_a_new_error_beside_an_old_one_refuses() -> None:
    """Only the new one is the reason; the old one is told as a warning."""
    judge = Judge(problem("PathConflict"))
    found = await verdict(asked(ingress("UPPER.example.com"), ingress()), judge)
    assert (reasons(found.errors), reasons(found.warnings)) == (["InvalidValue"], ["PathConflict"])


async def test_an_old_error_that_moved_is_an_old_error() -> None:
    """A rule put before the broken one changes its field and not the broken object; a second one of its kind is new."""
    bad = {"host": "UPPER.example.com", "http": {"paths": [PATH]}}
    good = {"host": "a.example.com", "http": {"paths": [PATH]}}
    old, moved, doubled = (ingress(spec={"rules": rules}) for rules in ([bad, good], [good, bad], [good, bad, bad]))
    found = await verdict(asked(moved, old))
    assert (reasons(found.errors), reasons(found.warnings)) == ([], ["InvalidValue"])
    assert [each.field for each in (await verdict(asked(doubled, old))).errors] == ["spec.rules[2].host"]


async def test_an_ingress_that_comes_into_our_class_is_judged_as_new() -> None:
    """Its errors were nobody's before."""
    old = ingress("UPPER.example.com")
    old["spec"]["ingressClassName"] = "other"
    assert reasons((await verdict(asked(ingress("UPPER.example.com"), old))).errors) == ["InvalidValue"]


async def test_an_old_ingress_cannot_take_a_path_that_a_younger_one_serves() -> None:
    """The change is the newcomer: it is judged as the youngest, whatever the age of its object."""

    class Conflicts(Judge):
        async def __call__(self, ingress: Ingress) -> Sequence[Problem] | None:
            taken = any(rule.host == "taken.example.com" for rule in ingress.spec.rules)
            young = ingress.metadata.creation_timestamp > "2031"
            return (problem("PathConflict"),) if taken and young else ()

    found = await verdict(asked(ingress("taken.example.com"), ingress("a.example.com")), Conflicts())
    assert reasons(found.errors) == ["PathConflict"]
    labelled = await verdict(
        asked(ingress("taken.example.com", labels={"a": "b"}), ingress("taken.example.com")), Conflicts()
    )
    assert labelled == Verdict(), "it wins the path that it holds: nothing to tell"


async def test_a_new_ingress_without_a_timestamp_is_the_youngest() -> None:
    """An empty timestamp counts as oldest elsewhere; here it would win every conflict."""
    judge = Judge()
    await verdict(asked(ingress(creationTimestamp=None)), judge)
    assert judge.judged[0].metadata.creation_timestamp > "9"


# ---- our own kinds


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Response", {"status": 503, "body": "closed"}, []),
        ("Response", {"status": 42}, ["spec.status"]),
        ("TrafficPolicy", {"targetRefs": [{"kind": "Gateway", "name": "web"}]}, ["spec.targetRefs[0].kind"]),
        ("IngressClassParameters", {"timeouts": {"read": "soon"}}, ["spec.timeouts.read"]),
    ],
)
async def test_our_kinds_are_decoded_as_they_are_applied(kind: str, spec: dict[str, Any], expected: list[str]) -> None:
    """What decoding finds refuses; nobody else is asked."""
    value = {"apiVersion": "pyngress.io/v1alpha1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}
    judge = Judge()
    named = {"group": "pyngress.io", "version": "v1alpha1", "kind": kind}
    found = await verdict(asked(value, kind=named), judge)
    assert [each.field for each in found.errors] == expected
    assert judge.judged == []


# ---- names


async def test_a_name_still_to_be_made_is_no_error() -> None:
    """generateName comes before the name exists; the namespace may stand in the request alone."""
    judge = Judge()
    new = ingress(generateName="web-")
    del new["metadata"]["name"], new["metadata"]["namespace"]
    assert await verdict(asked(new, name=""), judge) == Verdict()
    assert (judge.judged[0].metadata.name, judge.judged[0].metadata.namespace) == ("web-00000", "shop")


# ---- bodies


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not an AdmissionReview"),
        (b"[]", "not an AdmissionReview"),
        (b"\xff", "not an AdmissionReview"),
        (b'{"kind":"\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not an AdmissionReview"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "request"),
        (asked(ingress(), uid=""), "request.uid is empty"),
        (asked(ingress()).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"), "only AdmissionReview of"),
        (asked(None), "request.object is missing in CREATE"),
        (asked(ingress() | {"kind": "Service"}), "of another kind"),
        (asked(ingress() | {"x": msgspec.Raw(b"[" * 101 + b"]" * 101)}), "deeper than 100 levels"),
        (asked(ingress() | {"x": msgspec.Raw(b"[" * 9000 + b"]" * 9000)}), "deeper than 100 levels"),
    ],
)
async def test_bad_bodies_are_told_apart(body: bytes, told: str) -> None:
    """Each has its own clear text."""
    with pytest.raises(ReviewError, match=told):
        await verdict(body)


# ---- messages


async def test_messages_are_bounded_and_printable() -> None:
    """Control characters are escaped, huge values cut, and many errors counted."""
    evil = "\x1b[31m\n\u202e" + "x" * 1_000_000
    bad = {"host": evil, "http": {"paths": [PATH]}}
    found = await verdict(asked(ingress(spec={"rules": [bad] * (MAX_ERRORS + 5)})))
    message = msgspec.json.decode(encode_verdict("u-1", found))["response"]["status"]["message"]
    lines = message.split("\n")
    assert len(lines) == 1 + MAX_ERRORS + 1
    assert lines[-1] == "and 5 more"
    assert all(line.isprintable() and len(line.encode()) <= MAX_LINE for line in lines)
    assert "\\x1b[31m\\n\\u202e" in lines[1]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_warnings_are_bounded_each_and_together(count: int) -> None:
    """As the API server asks; what is left out is counted, and no warning is lost without a word."""
    many = tuple(
        problem("NoEndpoints", f"metadata.annotations[{'ä' * 400}{n}]", "warning", "\n" * 400) for n in range(count)
    )
    warnings = msgspec.json.decode(encode_verdict("u-1", Verdict(warnings=many)))["response"]["warnings"]
    assert all(each.isprintable() and len(each.encode()) <= MAX_WARNING for each in warnings)
    assert sum(len(each.encode()) for each in warnings) <= MAX_WARNINGS
    assert "NoEndpoints" in warnings[0], "a long field leaves room for the reason"
    last = warnings[-1]
    rest = int(last.split()[2]) if last.endswith("more warnings") else 0
    assert len(warnings) - (rest > 0) + rest == count


@pytest.mark.parametrize("text", ["plain", "\x00\x7f", "ä" * 300, "\ud800", "🦊" * 70, "\n" * 300])
def test_plain_text_is_one_printable_line(text: str) -> None:
    """Whatever comes in, what goes out prints, encodes and fits."""
    shown = plain(text, MAX_WARNING)
    assert shown.isprintable()
    assert len(shown.encode()) <= MAX_WARNING


# ---- speed


async def test_one_object_takes_less_than_ten_milliseconds() -> None:
    """An Ingress of 20 rules and 100 paths, decoded and compared, in CPU time; the best of several."""
    rules = [{"host": f"h{n}.example.com", "http": {"paths": [PATH] * 5}} for n in range(20)]
    body = asked(ingress(spec={"rules": rules}, labels={"a": "b"}), ingress(spec={"rules": rules}))
    assert len(body) < MAX_BODY
    times = []
    for _ in range(5):
        began = time.process_time()
        encode_verdict("u-1", await verdict(body))
        times.append(time.process_time() - began)
    assert min(times) < 0.010
