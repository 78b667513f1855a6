"""What would be wrong with one Ingress if it were applied now. Looks, and changes nothing."""

from __future__ import annotations

import datetime

import msgspec

from ingress.options import Options
from ingress.resources import Ingress, Key, Problem
from ingress.translate.certificates import PartClaims, SecretReading, claim_names, name_certificate
from ingress.translate.classes import select_ingress
from ingress.translate.conflicts import merge_host, shares_of
from ingress.translate.defaults import choose_default
from ingress.translate.hosts import read_ingress
from ingress.translate.lookup import Objects, Recorder
from ingress.translate.memory import Memory, backend_problems, in_age_order
from ingress.translate.part import IngressPart
from ingress.translate.problems import in_order
from ingress.translate.wanted import named_in, without_missing

__all__ = ["Judge"]

_YOUNGEST = "9999-12-31T23:59:59Z"


class Judge:
    """For one judgement."""

    def __init__(self, memory: Memory, objects: Objects, options: Options, now: datetime.datetime | None) -> None:
        self._memory = memory
        self._objects = objects
        self._options = options
        self._now = now

    def judge(self, ingress: Ingress) -> tuple[Problem, ...]:
        """Its own Problems, sorted; none if it is not ours."""
        ingress = self._aged(ingress)
        selection = select_ingress(ingress, self._options, self._objects)
        if not selection.ours:
            return selection.problems
        recorder = Recorder(self._objects)
        part = read_ingress(ingress, self._options, recorder, ingress_class=selection.ingress_class)
        claims = claim_names(part, self._readings(part))
        found = {
            *selection.problems,
            *self._certain(part.problems, recorder),
            *backend_problems(part, self._memory.backends),
            *claims.problems,
            *self._lost_routes(part),
            *self._lost_names(claims),
            *self._lost_default(part),
        }
        return in_order({problem for problem in found if problem.object == part.ref})

    def _aged(self, ingress: Ingress) -> Ingress:
        metadata = ingress.metadata
        current = self._objects.get(Ingress, (metadata.namespace, metadata.name))
        if metadata.creation_timestamp:
            return ingress
        created = _YOUNGEST if current is None else current.metadata.creation_timestamp
        return msgspec.structs.replace(ingress, metadata=msgspec.structs.replace(metadata, creation_timestamp=created))

    def _certain(self, problems: tuple[Problem, ...], recorder: Recorder) -> tuple[Problem, ...]:
        """Without those that only tell that a Secret or ConfigMap is missing which is not read yet."""
        memory = self._memory
        for kind, key in named_in(recorder.asked):
            if not memory.is_wanted(kind, key) or memory.is_unread(kind, key):
                return without_missing(problems)
        return problems

    def _readings(self, part: IngressPart) -> dict[Key, SecretReading]:
        """Those of its Secrets that are read, or at least known."""
        secrets = self._memory.secrets
        readings = {}
        for claim in part.tls:
            reading = secrets.readings.get(claim.secret)
            if reading is None:
                reading = secrets.read_if_there(claim.secret, self._now)
            if reading is not None:
                readings[claim.secret] = reading
        return readings

    def _lost_routes(self, part: IngressPart) -> list[Problem]:
        problems: list[Problem] = []
        for host, share in shares_of(part).items():
            others = [other for other in self._memory.shares.by_age(host) if other.part.ref != part.ref]
            shares = sorted([*others, share], key=lambda one: one.part.age)
            problems += merge_host(host, shares).problems
        return problems

    def _lost_names(self, claims: PartClaims) -> list[Problem]:
        problems: list[Problem] = []
        readings = {**self._memory.secrets.readings, **self._readings(claims.part)}
        for host in claims.claims:
            others = [other for other in self._memory.names.by_age(host) if other.part.ref != claims.part.ref]
            of_all = sorted([*others, claims], key=lambda one: one.part.age)
            problems += name_certificate(host, of_all, readings).problems
        return problems

    def _lost_default(self, part: IngressPart) -> list[Problem]:
        if not part.defaults or part.has_rules:
            return []
        others = [other for other in self._memory.catch_alls.values() if other.ref != part.ref]
        _, lost = choose_default(in_age_order([*others, part]), self._options.default_backend)
        return lost
