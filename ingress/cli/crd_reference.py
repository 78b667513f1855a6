"""``python -m ingress.cli.crd_reference > docs/crds.md``: the page of our own kinds, from ``crds/``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import yaml

__all__ = ["crds_page", "read_crds"]

_HEAD: Final = """# Our own kinds

Made from `crds/*.yaml` by `make docs`; a test keeps it equal. The group is `pyngress.io`, the version `v1alpha1`.

```console
$ kubectl apply -f crds/        # the chart brings the same files
$ kubectl get pyngress -A       # all objects of these kinds
```

The kinds work from a folder of manifests, too: see `examples/maintenance-page` and `examples/traffic-policy`.
`pyngress check` and the API server find the same faults; Pyngress also those for which a schema has no words, such as
an address range of 40 bits in IPv4.

## What goes first

Every field of a route and of its cluster is decided by itself. The first of these that says anything decides it:

1. an annotation of the Ingress (`docs/annotations.md`),
2. a TrafficPolicy on the Ingress,
3. a TrafficPolicy on the Service that the route forwards to,
4. the IngressClassParameters of the Ingress's class,
5. the options (`docs/options.md`).

Rules:

- **Header rules** are decided header by header: a policy that sets `X-Frame-Options` leaves alone the
  `Strict-Transport-Security` of the class. `cors`, `rateLimit`, `balancing`, `affinity` and `ejection` are one field
  each; `access.allow` and `access.deny` are two.
- **Several policies on one object**: the oldest (creationTimestamp, then name) decides each field. The others get a
  `PolicyConflict` that names it. A policy that reaches nothing gets a `NoTarget`.
- **A TrafficPolicy on a Service** shapes all routes to it, of every Ingress, and their cluster.
- **Values of the whole process** (client timeouts, limits of request heads and connections, trusted proxies, access
  log, TLS version, HSTS, idle upstream connections, default backend and certificate) come from the oldest of our
  IngressClasses that sets them; the others get a `ParametersConflict`.
- **Bad values** count as not set, and are told. Not so where going on would let somebody in: a TrafficPolicy whose
  `access`, `rateLimit` or `cors` is wrong closes what it is attached to: its routes answer 503 until it is repaired. A
  Response that is wrong or missing answers 503.
- **No header rule** can touch fields of framing, routing and connection management: Host, Content-Length,
  Transfer-Encoding, Connection, Upgrade, TE, Trailer, Expect, Date and the like.
- **Rate limits** count one client address on all routes of the same policy (or of the Ingress, for annotations), over
  all workers of a pod; each pod counts for itself.
"""


def read_crds(folder: Path) -> list[Any]:
    """The CustomResourceDefinitions of a folder, by kind. Raises ``OSError`` and ``yaml.YAMLError``."""
    crds = [yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")]
    return sorted(crds, key=lambda crd: str(crd["spec"]["names"]["kind"]))


def crds_page(crds: Iterable[Any]) -> str:
    """The page as Markdown."""
    return _HEAD + "".join(_kind(crd) for crd in crds)


def _kind(crd: Any) -> str:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    scope = "cluster-scoped" if crd["spec"]["scope"] == "Cluster" else "namespaced"
    lines = [
        f"\n## {names['kind']}\n\n{schema['description']}\n",
        f"`{names['plural']}` (short `{', '.join(names['shortNames'])}`), {scope}.\n",
    ]
    for part in ("spec", "status"):
        node = schema["properties"].get(part)
        if node is None:
            continue
        lines.append(f"{node['description']}\n")
        lines += [f"- {rule['message'][0].upper()}{rule['message'][1:]}." for rule in _rules(node)]
        lines += [""] if _rules(node) else []
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(path, child, required) for path, child, required in _fields(node, part)]
        lines.append("")
    return "\n".join(lines)


def _fields(node: Any, path: str) -> Iterator[tuple[str, Any, bool]]:
    """All fields below a node, with their path and whether they must be there; items of plain lists are no fields."""
    required = node.get("required", ())
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, child, name in required
        below = child
        while "items" in below:
            below, here = below["items"], f"{here}[]"
        yield from _fields(below, here)


def _row(path: str, node: Any, required: bool) -> str:
    default = "required" if required else _default(node)
    rules = [rule["message"] for child in _and_items(node) for rule in _rules(child)]
    meaning = " ".join((node["description"], *(f"{rule[0].upper()}{rule[1:]}." for rule in rules)))
    return f"| `{path.partition('.')[2]}` | {_type(node)} | {default} | {meaning} |".replace("||", "\\|\\|")


def _and_items(node: Any) -> Iterator[Any]:
    yield node
    if "items" in node:
        yield from _and_items(node["items"])


def _rules(node: Any) -> list[Any]:
    rules: list[Any] = node.get("x-kubernetes-validations", [])
    return rules


def _default(node: Any) -> str:
    if "default" not in node:
        return ""
    value = node["default"]
    return ", ".join(f"`{item}`" for item in value) if isinstance(value, list) else f"`{_plain(value)}`"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(node: Any) -> str:
    """The type and its bounds."""
    if "items" in node:
        return f"list of {_type(node['items'])}, at most {node['maxItems']}"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "whole number or string"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    if "minimum" in node and "maximum" in node:
        return f"whole number, {node['minimum']} to {node['maximum']}"
    kind = {"object": "object", "boolean": "`true` or `false`", "integer": "whole number", "string": "string"}
    return kind[node["type"]]


if __name__ == "__main__":
    click.echo(crds_page(read_crds(Path(__file__).parents[2] / "crds")), nl=False)
