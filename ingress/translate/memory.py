"""All results of one Translator, and how a change of an object runs through them.

The order of the steps is that of :meth:`Memory.settle`: Ingresses are read, their backends resolved, their Secrets
read; then what belongs to a host, a TLS name or to nobody is merged; at last the table is made of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from ingress.options import Options
from ingress.resources import (
    Change,
    ConfigMap,
    Ingress,
    Key,
    KubernetesObject,
    ObjectRef,
    Problem,
    Secret,
    TrafficPolicy,
    Wanted,
)
from ingress.translate.certificates import PartClaims, claim_names, name_certificate
from ingress.translate.classes import select_ingress
from ingress.translate.conflicts import HostShare, merge_host, shares_of
from ingress.translate.defaults import choose_default, default_backend_key, with_fallback
from ingress.translate.host_index import HostIndex
from ingress.translate.hosts import read_ingress
from ingress.translate.known_backends import KnownBackends
from ingress.translate.known_secrets import KnownSecrets
from ingress.translate.lookup import Dependencies, Objects, Recorder
from ingress.translate.part import ANY_HOST, Finding, IngressPart
from ingress.translate.policies import policy_problems
from ingress.translate.policies_applied import PoliciesApplied
from ingress.translate.problems import ProblemList
from ingress.translate.sorted_bag import SortedBag
from ingress.translate.table_draft import TableDraft
from ingress.translate.translation import Translation
from ingress.translate.wanted import (
    WantedObjects,
    named_in,
    wanted_by,
    wanted_object,
    without_missing,
)
from proxy.table import Certificate, Host

__all__ = ["Memory"]

_OPTIONS: Final[Key] = ("", "")
"""The user of what the options name."""


class Memory:
    """Results by object, backend, Secret, host and name."""

    def __init__(self, objects: Objects, options: Options) -> None:
        self.backends = KnownBackends(objects, allow_local_names=options.settings.allow_local_names)
        self.secrets = KnownSecrets(objects)
        self.shares: HostIndex[HostShare] = HostIndex()
        self.names: HostIndex[PartClaims] = HostIndex()
        self.catch_alls: dict[Key, IngressPart] = {}
        """Parts with a default backend and no rules."""
        self._objects = objects
        self._options = options
        self._dependencies = Dependencies()
        self._parts: dict[Key, IngressPart] = {}
        self._claims: dict[Key, PartClaims] = {}
        self._fallbacks: dict[Key, IngressPart] = {}
        """Parts with a default backend and rules."""
        self._problems = ProblemList()
        self._served: SortedBag[ObjectRef] = SortedBag(lambda ref: ref)
        self._wanted = WantedObjects()
        self._policies = PoliciesApplied()
        self._any_host: Host | None = None
        """What is asked for on :data:`ANY_HOST`, before the fallback."""
        self._defaults_stale = True
        """Somebody may have another default backend, or :data:`ANY_HOST` may be other than before."""
        self._draft = TableDraft(options.settings)
        self._stale: set[Key] = set()
        """Ingresses to be read again."""
        self._told_other: set[Key] = set()
        """Ingresses whose backends have other findings than before."""
        self._claim_again: set[Key] = set()
        """Ingresses whose Secrets give something else than before."""
        self._known_of: frozenset[Wanted] | None = None
        self.secrets.is_unread = partial(self.is_unread, Secret)
        self._use_options()

    def take(self, made: Iterable[tuple[Change, KubernetesObject | None]]) -> None:
        """Changes that were made to the objects, and what was there before each."""
        for change, before in made:
            if change.kind is Ingress:
                self._stale.add(change.key)
            elif change.kind is TrafficPolicy:
                self._policies.stale.add(change.key)
            elif change.kind is Secret:
                self.secrets.take(change.key)
            else:
                self.backends.take(change, before)
            self._stale.update(self._dependencies.on(change.kind, change.key))

    def settle(self, now: datetime.datetime | None, *, with_changes: bool) -> Translation:
        """Work off what is stale."""
        for key in self._stale:
            self._read(key)
        self._stale.clear()
        clusters, told = self.backends.settle()
        certificates, users = self.secrets.settle(now)
        self._draft.clusters |= clusters
        self._draft.certificates |= certificates
        self._tell_backends(told)
        self._tell_default_certificate(users)
        self._claim(users)
        self._merge_hosts()
        self._merge_names()
        self._choose_defaults()
        self._tell_policies()
        table, changed = self._draft.finish(self.backends.cluster, self._certificate)
        return Translation(
            table=table,
            problems=self._problems.shown(),
            served=self._served.shown(),
            wanted=self._wanted.shown(),
            policies=self._policies.shown(),
            changed=changed if with_changes else None,
        )

    def tell_classes(self, problems: tuple[Problem, ...]) -> None:
        """All Problems of our IngressClasses and their parameters."""
        self._problems.own("classes", _OPTIONS, problems)

    def know_of(self, read: frozenset[Wanted] | None) -> None:
        """The wanted objects of which it is known whether they exist; ``None``: all."""
        before, self._known_of = self._known_of, read
        if read is before:
            return
        for wanted in self._wanted.shown() if read is None or before is None else read ^ before:
            kind = Secret if wanted.kind == Secret.__name__ else ConfigMap
            if kind is Secret:
                self.secrets.take(wanted.key)
            self._stale.update(self._dependencies.on(kind, wanted.key))

    def is_unread(self, kind: type[Secret | ConfigMap], key: Key) -> bool:
        """Whether it is not known yet if that object exists."""
        return self._known_of is not None and wanted_object(kind, key) not in self._known_of

    def is_wanted(self, kind: type[Secret | ConfigMap], key: Key) -> bool:
        """Whether something that is there names that object, so that it is read."""
        return wanted_object(kind, key) in self._wanted

    # ---- one Ingress

    def _read(self, key: Key) -> None:
        """The Ingress as it is now, in place of what it was."""
        recorder = Recorder(self._objects)
        part, problems = self._read_part(key, recorder)
        before = self._parts.get(key)
        self._wanted.replace(wanted_by(before, self._dependencies.asked_by(key)), wanted_by(part, recorder.asked))
        self._dependencies.record(key, recorder.asked)
        self._problems.own("read", key, problems if part is None else (*problems, *part.problems))
        if part != before:
            self._exchange(key, before, part)

    def _read_part(self, key: Key, recorder: Recorder) -> tuple[IngressPart | None, tuple[Problem, ...]]:
        ingress = self._objects.get(Ingress, key)
        if ingress is None:
            return None, ()
        selection = select_ingress(ingress, self._options, recorder)
        if not selection.ours:
            return None, selection.problems
        part = read_ingress(ingress, self._options, recorder, ingress_class=selection.ingress_class)
        if any(self.is_unread(kind, asked) for kind, asked in named_in(recorder.asked)):
            part = msgspec.structs.replace(part, problems=without_missing(part.problems))
        return part, selection.problems

    def _exchange(self, key: Key, old: IngressPart | None, new: IngressPart | None) -> None:
        """Everything that knows of the part ``old`` knows of ``new`` instead."""
        if new is None:
            del self._parts[key]
        else:
            self._parts[key] = new
        self._served.replace([old.ref] if old else [], [new.ref] if new else [])
        self._policies.replace(old.applied_policies if old else (), new.applied_policies if new else ())
        self.shares.replace(key, shares_of(old) if old else {}, shares_of(new) if new else {})
        self.backends.use(
            key,
            [use.key for use in old.backends] if old else [],
            [use.key for use in new.backends] if new else [],
        )
        self.secrets.use(key, _secrets_of(old), _secrets_of(new))
        self._told_other.add(key)
        self._claim_again.add(key)
        for group, rules in ((self.catch_alls, False), (self._fallbacks, True)):
            if group.pop(key, None) is not None:
                self._defaults_stale = True
            if new is not None and new.defaults and new.has_rules is rules:
                group[key] = new
                self._defaults_stale = True

    # ---- the steps after reading

    def _tell_backends(self, users: Iterable[Key]) -> None:
        """The findings of backends become Problems of those who name them."""
        self._told_other.update(users)
        for key in self._told_other:
            if key == _OPTIONS:
                self._tell_default_backend()
                continue
            part = self._parts.get(key)
            problems = () if part is None else backend_problems(part, self.backends)
            self._problems.own("backends", key, problems)
        self._told_other.clear()

    def _claim(self, users: Iterable[Key]) -> None:
        """Which TLS names each part claims, as its Secrets are now."""
        self._claim_again.update(users)
        self._claim_again.discard(_OPTIONS)
        for key in self._claim_again:
            before = self._claims.pop(key, None)
            part = self._parts.get(key)
            after = None
            if part is not None and part.tls:
                after = self._claims[key] = claim_names(part, self.secrets.readings)
            self.names.replace(
                key,
                {} if before is None else dict.fromkeys(before.claims, before),
                {} if after is None else dict.fromkeys(after.claims, after),
            )
            self._problems.own("tls", key, () if after is None else after.problems)
        self._claim_again.clear()

    def _merge_hosts(self) -> None:
        for host in self.shares.stale:
            shares = self.shares.by_age(host)
            merged = merge_host(host, shares) if shares else None
            self._problems.own("host", host, () if merged is None else merged.problems)
            found = None if merged is None else merged.host
            if host == ANY_HOST:
                self._any_host, self._defaults_stale = found, True
            else:
                self._draft.hosts[host] = found
                self._draft.passthrough[host] = None if merged is None else merged.passes_to
        self.shares.stale.clear()

    def _merge_names(self) -> None:
        for host in self.names.stale:
            claims = self.names.by_age(host)
            named = name_certificate(host, claims, self.secrets.readings) if claims else None
            self._problems.own("name", host, () if named is None else named.problems)
            self._draft.server_names[host] = None if named is None else named.secret
        self.names.stale.clear()

    def _choose_defaults(self) -> None:
        if not self._defaults_stale:
            return
        candidates = in_age_order(self.catch_alls.values())
        default, lost = choose_default(candidates, self._options.default_backend)
        self._problems.own("default", _OPTIONS, tuple(lost))
        oldest = None
        if default is None and self._fallbacks:
            oldest = min(self._fallbacks.values(), key=lambda part: part.age)
        self._draft.default = default
        self._draft.hosts[ANY_HOST] = with_fallback(self._any_host, oldest)
        self._defaults_stale = False

    def _tell_policies(self) -> None:
        for key in self._policies.stale:
            policy = self._objects.get(TrafficPolicy, key)
            problems = () if policy is None else policy_problems(policy, self._policies.targets(key))
            self._problems.own("policy", key, problems)
        self._policies.stale.clear()

    def _certificate(self, secret: Key) -> Certificate | None:
        return self.secrets.readings[secret].certificate

    # ---- what the options name

    def _use_options(self) -> None:
        options = self._options
        wanted: set[Wanted] = set()
        if options.default_backend is not None:
            self.backends.use(_OPTIONS, [], [default_backend_key(options.default_backend)])
            self._told_other.add(_OPTIONS)
        if options.default_ssl_certificate is not None:
            self.secrets.use(_OPTIONS, [], [options.default_ssl_certificate])
            wanted.add(wanted_object(Secret, options.default_ssl_certificate))
        self._wanted.replace(set(), wanted)

    def _tell_default_backend(self) -> None:
        assert self._options.default_backend is not None, "the options use no other backend"
        key = default_backend_key(self._options.default_backend)
        ref = ObjectRef(kind="Service", namespace=key.namespace, name=key.service)
        self._problems.own("backends", _OPTIONS, _problems_of(ref, self.backends.backend(key).findings))

    def _tell_default_certificate(self, users: Iterable[Key]) -> None:
        key = self._options.default_ssl_certificate
        if key is None or _OPTIONS not in users:
            return
        reading = self.secrets.readings[key]
        self._draft.default_certificate = key if reading.certificate is not None else None
        ref = ObjectRef(kind="Secret", namespace=key[0], name=key[1])
        self._problems.own("tls", _OPTIONS, _problems_of(ref, reading.told("a self-signed certificate")))


def backend_problems(part: IngressPart, backends: KnownBackends) -> tuple[Problem, ...]:
    """The findings of the backends that a part names, at its fields."""
    return tuple(
        part.problem(use.field, finding) for use in part.backends for finding in backends.backend(use.key).findings
    )


def _secrets_of(part: IngressPart | None) -> list[Key]:
    """Those with certificates, to show clients or backends."""
    return [] if part is None else [*(claim.secret for claim in part.tls), *part.shown]


def in_age_order(parts: Iterable[IngressPart]) -> Sequence[IngressPart]:
    return sorted(parts, key=lambda part: part.age)


def _problems_of(ref: ObjectRef, findings: Iterable[Finding]) -> tuple[Problem, ...]:
    return tuple(
        Problem(object=ref, field="", reason=finding.reason, message=finding.message, severity=finding.severity)
        for finding in findings
    )
