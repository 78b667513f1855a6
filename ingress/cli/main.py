"""The commands of ``pyngress``. Each is a few lines: read, ask the part that knows, print.

Exit codes: 0 done; 1 the manifests have errors, or serving failed; 2 the command line is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from ingress.cli.check import problem_lines, problems_json, summary
from ingress.cli.command import SectionedCommand, with_options
from ingress.cli.explain import explanation_lines
from ingress.cli.flags import FLAGS, TABLE_FLAGS
from ingress.cli.routes import route_lines
from ingress.cli.translate import translate_files
from ingress.options import Options
from ingress.resources.convert import convert_documents
from ingress.translate import redact
from ingress.version import VERSION
from proxy.routing import explain as explain_request

__all__ = ["main"]

_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the output."
)
_files = click.argument("files", nargs=-1, metavar="[FILE|FOLDER]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="pyngress", message="%(prog)s %(version)s")
def main() -> None:
    """A Kubernetes ingress controller with its own proxy inside."""


@main.command(cls=SectionedCommand)
@with_options(FLAGS)
def run(options: Options) -> None:
    """Serve the Ingress objects of a cluster, or with --manifests those of a folder.

    In a pod no flag is needed. Elsewhere --kubeconfig, or what kubectl would use, says which cluster.

    Every flag can also be set in the environment, under the name that stands behind it.
    """
    from ingress.app import serve  # the other commands start without the servers

    sys.exit(serve(options, show_table=lambda table: click.echo("\n".join(route_lines(table)), err=True)))


@main.command(cls=SectionedCommand)
@_files
@_output
@with_options(TABLE_FLAGS)
def check(options: Options, files: tuple[str, ...], output: str) -> None:
    """Report every problem of manifests; exit 1 if there is an error."""
    found = translate_files(files, options)
    if output == "json":
        click.echo(problems_json(found.problems))
    else:
        for line in problem_lines(found.problems):
            click.echo(line)
        click.echo(summary(found.problems, found.served))
    sys.exit(any(problem.severity == "error" for problem in found.problems))


@main.command(cls=SectionedCommand)
@_files
@_output
@with_options(TABLE_FLAGS)
def routes(options: Options, files: tuple[str, ...], output: str) -> None:
    """Print the routing table of manifests; keys of certificates are left out."""
    found = translate_files(files, options)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(redact(found.table), order="sorted"), indent=2).decode())
    else:
        click.echo("\n".join(route_lines(found.table)))
    _hint_at_errors(len(found.problems))


@main.command(cls=SectionedCommand)
@click.argument("host")
@click.argument("path", default="/")
@_output
@with_options(TABLE_FLAGS)
def explain(options: Options, host: str, path: str, output: str) -> None:
    """Say which rule serves HOST and PATH, which others were considered and why they lost."""
    table = translate_files((), options).table
    explanation = explain_request(table, host, path)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(explanation), indent=2).decode())
    else:
        click.echo("\n".join(explanation_lines(table, explanation)))


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def convert(files: tuple[str, ...]) -> None:
    """Print manifests with old forms of Ingress as networking.k8s.io/v1; '-' reads standard input."""
    converted = []
    for name in files:
        text = sys.stdin.read() if name == "-" else _read(name)
        try:
            converted.append(convert_documents(text, "standard input" if name == "-" else name))
        except ValueError as error:
            raise click.ClickException(str(error)) from error
    click.echo("---\n".join(each if each.endswith("\n") else each + "\n" for each in converted), nl=False)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"pyngress {VERSION}")


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{name}: {error}") from error


def _hint_at_errors(problems: int) -> None:
    if problems:
        click.echo(f"{problems} problem{'s' * (problems != 1)}: see 'pyngress check'.", err=True)
