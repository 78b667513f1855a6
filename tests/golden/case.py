"""A golden case: one text file.

    What it shows, in a sentence or two.
    flags: --default-backend default/other:8080
    with: services
    ---- manifests
    YAML documents
    ---- table
    the routing table as JSON
    ---- problems
    one line per problem

``flags:`` and ``with:`` may be left out; ``with:`` adds manifests of ``shared/``. In a Secret ``@foo.crt`` stands for a
file of ``certs/`` (several with ``+``); in the table a chain is shown by that name, and keys are redacted.
"""

from __future__ import annotations

import datetime
import json
import random
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ingress.cli.flags import FLAGS, as_option, options_from
from ingress.options import Options
from ingress.resources import KINDS, KubernetesObject, Problem, Snapshot
from ingress.resources.decode import decode_object, expand_lists
from ingress.resources.manifest import parse_yaml
from ingress.translate import redact, translate
from proxy.table import Settings, Table

FOLDER = Path(__file__).parent
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
WIDTH = 120
SECTIONS = ("manifests", "table", "problems")

Maps = dict[str, dict[tuple[str, str], Any]]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One file, cut at its rules."""

    header: str
    flags: str = ""
    shared: tuple[str, ...] = ()
    manifests: str
    table: str = ""
    problems: str = ""

    @property
    def text(self) -> str:
        parts = [self.header, f"---- manifests\n{self.manifests}"]
        return "".join((*parts, f"---- table\n{self.table}", f"---- problems\n{self.problems}"))


def case_files() -> list[Path]:
    return sorted((FOLDER / "cases").glob("*.txt"))


def read_case(path: Path) -> Case:
    """Raises ``ValueError`` on sections and header lines that are not of a case."""
    header, *parts = path.read_text().split("\n---- ")
    sections = {name: text for name, _, text in (part.partition("\n") for part in parts)}
    if tuple(sections) not in (SECTIONS[:1], SECTIONS):
        raise ValueError(f"{path.name}: the sections are {', '.join(sections)}, not {', '.join(SECTIONS)}")
    sections = {name: text if text.endswith("\n") or not text else text + "\n" for name, text in sections.items()}
    settings: dict[str, str] = {}
    sentence = ""
    for line in header.splitlines():
        name, colon, value = line.partition(": ")
        if colon and name.isalpha() and name.islower():
            settings[name] = value
        else:
            sentence += line
    if not sentence.rstrip().endswith(".") or set(settings) - {"flags", "with"}:
        raise ValueError(f"{path.name}: the header is a sentence, then flags: and with:")
    return Case(
        header=header + "\n",
        flags=settings.get("flags", ""),
        shared=tuple(settings.get("with", "").split()),
        manifests=sections["manifests"],
        table=sections.get("table", ""),
        problems=sections.get("problems", ""),
    )


def run_case(case: Case, *, seed: int | None = None) -> Case:
    """``case`` with the table and problems as they come out now. ``seed`` shuffles what comes in."""
    objects, problems = _decode(case)
    if seed is not None:
        objects = _shuffled(objects, random.Random(seed))
    translation = translate(snapshot_of(objects), options_of(case.flags), now=NOW)
    lines = sorted(map(_line, {*problems, *translation.problems}))
    return msgspec.structs.replace(case, table=_shown(translation.table), problems="".join(lines))


def options_of(flags: str) -> Options:
    """What the command line makes of ``flags`` for a folder of manifests, which a case is."""
    command = click.Command("case", params=[as_option(flag) for flag in FLAGS])
    return options_from(command.make_context("case", ["--manifests", ".", *shlex.split(flags)]).params)


def snapshot_of(objects: Iterable[KubernetesObject]) -> Snapshot:
    maps: Maps = {field: {} for field in KINDS.values()}
    for one in objects:
        maps[KINDS[type(one)]][one.ref.namespace, one.ref.name] = one
    return Snapshot(**maps)


def _decode(case: Case) -> tuple[list[KubernetesObject], list[Problem]]:
    texts = [(FOLDER / "shared" / f"{name}.yaml").read_text() for name in case.shared]
    objects: list[KubernetesObject] = []
    problems: list[Problem] = []
    for document in _documents((*texts, case.manifests)):
        decoded = decode_object(document)
        problems += decoded.problems
        if decoded.object is not None:
            objects.append(decoded.object)
        elif not decoded.problems:
            raise ValueError(f"not a kind that is read: {document}")
    return objects, problems


def _documents(texts: Sequence[str]) -> Iterator[Any]:
    for text in texts:
        for document in parse_yaml(text):
            for _, data in expand_lists(document.data):
                if data.get("kind") == "Secret":
                    data["stringData"] = {key: _file(value) for key, value in data.get("stringData", {}).items()}
                yield data


def _file(value: str) -> str:
    if not value.startswith("@"):
        return value
    return "".join((FOLDER / "certs" / name).read_text() for name in value[1:].split("+"))


def _shuffled(objects: Iterable[KubernetesObject], chance: random.Random) -> list[KubernetesObject]:
    """The objects and their annotations in another order. The order inside lists means something, and stays."""
    shuffled = []
    for one in objects:
        annotations = list(one.metadata.annotations.items())
        chance.shuffle(annotations)
        metadata = msgspec.structs.replace(one.metadata, annotations=dict(annotations))
        shuffled.append(msgspec.structs.replace(one, metadata=metadata))
    chance.shuffle(shuffled)
    return shuffled


def _shown(table: Table) -> str:
    names = {path.read_text(): f"<{path.name}>" for path in (FOLDER / "certs").glob("*.crt")}
    certificates = {
        key: msgspec.structs.replace(certificate, chain_pem=names[certificate.chain_pem])
        for key, certificate in redact(table).certificates.items()
    }
    shown = json.loads(msgspec.json.encode(msgspec.structs.replace(table, certificates=certificates)))
    for host in shown.get("hosts", {}).values():
        if asked := host.get("client_certificates"):
            asked["ca_pem"] = names[asked["ca_pem"]]
    for cluster in shown.get("clusters", {}).values():
        if trusted := cluster.get("tls", {}).get("ca_pem"):
            cluster["tls"]["ca_pem"] = names[trusted]
    shown["settings"] = {name: value for name, value in shown["settings"].items() if value != getattr(Settings(), name)}
    return _pretty({name: value for name, value in shown.items() if value != {}}) + "\n"


def _pretty(value: Any, indent: str = "") -> str:
    """JSON in which whatever fits stands in one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or (indent and len(indent) + len(line) <= WIDTH):
        return line
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _pretty(item, inner) for item in value) + f"\n{indent}]"
    items = (f"{inner}{json.dumps(key)}: {_pretty(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def _line(problem: Problem) -> str:
    where = f" {problem.field}" if problem.field else ""
    return f"{problem.severity} {problem.reason}: {problem.object}{where}: {problem.message}\n"
