"""The Translator: whatever way led to a state, the result is that of the state from scratch."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.options import Options
from ingress.resources import (
    KINDS,
    Change,
    ConfigMap,
    Ingress,
    IngressClassParameters,
    KubernetesObject,
    ObjectMeta,
    Response,
    Secret,
    Snapshot,
    TrafficPolicy,
    Wanted,
)
from ingress.resources.crd import (
    BodySource,
    ClassParametersSpec,
    ClassTimeouts,
    ConfigMapKey,
    DefaultBackend,
    NamedObject,
    PolicyTarget,
    PolicyTimeouts,
    ResponseSpec,
    TargetSelector,
    TrafficPolicySpec,
)
from ingress.resources.crd_parts import AccessRules, BalancingSpec
from ingress.translate import Translation, Translator
from ingress.translate.lookup import changes_of
from proxy.table import Table
from proxy.table.feed import ChangedKeys, apply_delta, difference
from tests.property.test_translate_properties import (
    AGES,
    CLASS,
    ENDPOINTS,
    INGRESS,
    LABELS,
    NAMES,
    OPTIONS,
    SECRET,
    SERVICE,
    SLICE,
    metadata,
)

CERTS = Path(__file__).parent.parent / "golden" / "certs"
PAIRS = sorted(path.stem for path in CERTS.glob("*.crt") if path.with_suffix(".key").exists())
MOMENTS = [
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=days)
    for days in (-2000, -1840, 0, 27025, 30000)
]


def pair(name: str) -> dict[str, bytes]:
    path = CERTS / name
    chain = path.with_suffix(".crt").read_bytes()
    return {"tls.crt": chain, "tls.key": path.with_suffix(".key").read_bytes(), "ca.crt": chain}


PAIR_SECRET = st.builds(Secret, metadata=metadata(), data=st.sampled_from(PAIRS).map(pair))
CONFIG_MAP = st.builds(ConfigMap, metadata=metadata(), data=st.sampled_from([{}, {"page": "text"}]))
RESPONSE = st.builds(
    Response,
    metadata=metadata(),
    spec=st.builds(
        ResponseSpec,
        status=st.sampled_from([None, 200, 503]),
        body_from=st.none()
        | st.builds(BodySource, config_map_key_ref=st.builds(ConfigMapKey, name=NAMES, key=st.just("page"))),
    ),
)
TARGET_KINDS = st.sampled_from(["Ingress", "Service"])
POLICY = st.builds(
    TrafficPolicy,
    metadata=metadata(creation_timestamp=AGES),
    spec=st.builds(
        TrafficPolicySpec,
        target_refs=st.lists(st.builds(PolicyTarget, kind=TARGET_KINDS, name=NAMES), max_size=1).map(tuple),
        target_selector=st.none() | st.builds(TargetSelector, kind=TARGET_KINDS, match_labels=LABELS),
        timeouts=st.builds(PolicyTimeouts, read=st.sampled_from(["", "5s", "nonsense"])),
        balancing=st.none() | st.just(BalancingSpec(method="EWMA")),
        access=st.none() | st.builds(AccessRules, deny=st.sampled_from([(), ("10.0.0.0/8",), ("nonsense",)])),
    ),
)
PARAMETERS = st.builds(
    IngressClassParameters,
    metadata=st.builds(ObjectMeta, name=NAMES),
    spec=st.builds(
        ClassParametersSpec,
        default_backend=st.none() | st.just(DefaultBackend(namespace="n", name="a", port=80)),
        default_certificate=st.none() | st.builds(NamedObject, namespace=st.just("n"), name=NAMES),
        timeouts=st.builds(ClassTimeouts, read=st.sampled_from(["", "7s"]), header=st.sampled_from(["", "7s", "x"])),
    ),
)
OBJECTS = (
    INGRESS,
    INGRESS,
    INGRESS,
    CLASS,
    SERVICE,
    SLICE,
    ENDPOINTS,
    SECRET,
    PAIR_SECRET,
    CONFIG_MAP,
    RESPONSE,
    POLICY,
    POLICY,
    PARAMETERS,
)
BATCHES = st.lists(
    st.lists(st.tuples(st.one_of(OBJECTS), st.sampled_from([True, True, False])), max_size=4), max_size=6
)
CLOCK = st.lists(st.none() | st.sampled_from(MOMENTS), min_size=6, max_size=6)

READ = st.none() | st.frozensets(
    st.builds(
        Wanted,
        kind=st.sampled_from(["Secret", "ConfigMap"]),
        namespace=st.sampled_from(["n", "m"]),
        name=st.sampled_from(["a", "b", "missing"]),
    ),
    max_size=4,
)
READS = st.lists(READ, min_size=6, max_size=6)

Maps = dict[str, dict[tuple[str, str], Any]]


def change_of(value: KubernetesObject, *, stays: bool) -> Change:
    ref = value.ref
    return Change(kind=type(value), key=(ref.namespace, ref.name), value=value if stays else None)


def make(maps: Maps, change: Change) -> None:
    objects = maps[KINDS[change.kind]]
    objects.pop(change.key, None)
    if change.value is not None:
        objects[change.key] = change.value


def without_change(translation: Translation) -> Translation:
    return msgspec.structs.replace(translation, changed=None)


def assert_changed_keys_suffice(before: Table, translation: Translation) -> None:
    changed = translation.changed
    assert isinstance(changed, ChangedKeys)
    after = translation.table
    assert bool(changed) == (before != after)
    delta = difference(before, after, generation=1, changed=changed)
    assert apply_delta(before, delta) == after
    assert set(delta.hosts) == changed.hosts
    assert set(delta.clusters) == changed.clusters
    assert set(delta.certificates) == changed.certificates
    assert set(delta.server_names) == changed.server_names


@settings(max_examples=150)
@given(BATCHES, CLOCK, READS, OPTIONS)
def test_any_way_to_a_state_gives_what_the_state_gives(
    batches: list[list[tuple[KubernetesObject, bool]]],
    clock: list[datetime.datetime | None],
    reads: list[frozenset[Wanted] | None],
    options: Options,
) -> None:
    """After each batch of additions, edits and deletions, at any time, the result is the one from scratch, to the byte,
    and the keys that are told as changed are those that did, unless the parameters of a class changed everything."""
    maps: Maps = {field: {} for field in KINDS.values()}
    translator = Translator(options)
    before = translator.update([], now=None).table
    options_before = translator.options
    for batch, now, read in zip(batches, clock, reads, strict=False):
        changes = [change_of(value, stays=stays) for value, stays in batch]
        for change in changes:
            make(maps, change)
        translation = translator.update(changes, now=now, read=read)
        scratch = Translator(options).update(changes_of(Snapshot(**maps)), now=now, read=read)
        assert msgspec.json.encode(translation.table) == msgspec.json.encode(scratch.table)
        assert without_change(translation) == scratch
        if translator.options == options_before:
            assert_changed_keys_suffice(before, translation)
        else:
            assert translation.changed is None
        before, options_before = translation.table, translator.options


@given(st.lists(st.one_of(OBJECTS), max_size=8), INGRESS, OPTIONS)
def test_a_judgement_is_what_applying_would_tell(
    objects: list[KubernetesObject], ingress: Ingress, options: Options
) -> None:
    """The Problems foretold for an Ingress are those that it has once it is there, but for Secrets and ConfigMaps
    that nobody has named yet; and foretelling changes nothing."""
    translator = Translator(options)
    before = translator.update([change_of(value, stays=True) for value in objects], now=MOMENTS[0])
    created = ingress.metadata.creation_timestamp or "2030-01-01T00:00:00Z"
    ingress = msgspec.structs.replace(
        ingress, metadata=msgspec.structs.replace(ingress.metadata, creation_timestamp=created)
    )
    foretold = translator.judge(ingress)
    assert without_change(translator.update([], now=MOMENTS[0])) == without_change(before)
    after = translator.update([change_of(ingress, stays=True)], now=MOMENTS[0])
    told = {problem for problem in after.problems if problem.object == ingress.ref}
    assert set(foretold) <= told
    assert {problem.reason for problem in told - set(foretold)} <= {"SecretNotFound", "ConfigMapNotFound"}
