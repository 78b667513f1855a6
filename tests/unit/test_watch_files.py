"""Folders of manifests: what is read, what is kept when something breaks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from ingress.resources import Problem
from ingress.watch import files, load
from ingress.watch.files import ManifestFolder
from ingress.watch.reading import MAX_FILE_SIZE, Content, Found, find, read_file
from ingress.watch.store import Loaded

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {{name: {0}}}\nspec: {{ports: [{{port: {1}}}]}}\n"


def service(name: str, port: int = 80) -> str:
    return SERVICE.format(name, port)


def ports(loaded: Loaded) -> dict[str, int]:
    return {name: value.spec.ports[0].port for (_, name), value in loaded.snapshot.services.items()}


def told(loaded: Loaded) -> list[tuple[str, str]]:
    return [(problem.object.name, problem.reason) for problem in loaded.problems]


def place(problem: Problem) -> tuple[str, int, int]:
    assert problem.source is not None
    return problem.source.file, problem.source.document, problem.source.line


def read(folder: Path) -> Loaded:
    return load([folder], relative_to=folder)


def test_a_folder_is_read_to_its_depth_and_names_are_relative(tmp_path: Path) -> None:
    """YAML under both endings and JSON; other files and hidden folders are not touched."""
    (tmp_path / "sub/deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(f"{service('a')}---\n{service('b')}")
    (tmp_path / "sub/b.yml").write_text(service("c"))
    (tmp_path / "sub/deep/c.json").write_text(
        '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "d"}, "spec": {"ports": [{"port": 80}]}}'
    )
    (tmp_path / "README.md").write_text("{{ not yaml")
    (tmp_path / ".git/x.yaml").write_text("{{ not yaml")
    (tmp_path / ".#a.yaml").write_text("{{ an editor's lock")
    loaded = read(tmp_path)
    assert loaded.problems == ()
    sources = {name: value.source for (_, name), value in loaded.snapshot.services.items()}
    assert {name: (s.file, s.document, s.line) for name, s in sources.items() if s} == {
        "a": ("a.yaml", 1, 1),
        "b": ("a.yaml", 2, 6),
        "c": ("sub/b.yml", 1, 1),
        "d": ("sub/deep/c.json", 1, 1),
    }


def test_the_items_of_a_list_have_their_own_lines(tmp_path: Path) -> None:
    """A problem in a long list can be found."""
    item = "- apiVersion: v1\n  kind: Service\n  metadata: {{name: {0}}}\n  spec:\n    ports:\n    - port: {1}\n"
    text = "apiVersion: v1\nkind: List\nitems:\n" + item.format("a", 80) + item.format("b", 0)
    (tmp_path / "a.yaml").write_text(text)
    loaded = read(tmp_path)
    source = loaded.snapshot.services["default", "a"].source
    assert source is not None
    assert source.line == 4
    assert [(problem.field, place(problem)) for problem in loaded.problems] == [
        ("spec.ports[0].port", ("a.yaml", 1, 15)),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason", "where"),
    [
        ("a.yaml", b"a: 1\n---\nb: {{ x }}\n", "InvalidYAML", (2, 3)),
        ("a.json", b'{"a": 1,\n}', "InvalidJSON", (1, 2)),
        ("a.yaml", b"a: 1\nb: \xff\n", "InvalidYAML", (1, 2)),
        ("a.yaml", b"a: 1\na: 2\n", "InvalidYAML", (1, 2)),
        ("a.yaml", b"#" * (MAX_FILE_SIZE + 1), "FileTooLarge", (1, 1)),
    ],
)
def test_a_file_that_can_not_be_read_is_reported_and_stops_no_other(
    tmp_path: Path, name: str, content: bytes, reason: str, where: tuple[int, int]
) -> None:
    """File, document and line are told."""
    (tmp_path / name).write_bytes(content)
    (tmp_path / "b.yaml").write_text(service("b"))
    loaded = read(tmp_path)
    (problem,) = loaded.problems
    assert (problem.object.kind, problem.object.name, problem.reason) == ("File", name, reason)
    assert place(problem) == (name, *where)
    assert ports(loaded) == {"b": 80}


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    """Editors on Windows write both."""
    text = service("a").replace("\n", "\r\n")
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "b.json").write_bytes(b'\xef\xbb\xbf{"apiVersion": "v1",\r\n"kind": "Pod"}\r\n')
    loaded = read(tmp_path)
    assert loaded.problems == ()
    assert ports(loaded) == {"a": 80}


def test_of_two_objects_with_one_name_the_first_by_path_counts(tmp_path: Path) -> None:
    """The order of the directory listing decides nothing."""
    (tmp_path / "b.yaml").write_text(service("s", 2))
    (tmp_path / "a.yaml").write_text(f"{service('x', 9)}---\n{service('s', 1)}")
    loaded = read(tmp_path)
    assert ports(loaded) == {"s": 1, "x": 9}
    (problem,) = loaded.problems
    assert problem.reason == "DuplicateObject"
    assert place(problem) == ("b.yaml", 1, 1)
    assert "a.yaml:6 (document 2)" in problem.message


def test_the_order_of_the_arguments_decides_before_that_of_the_names(tmp_path: Path) -> None:
    """What is named first on the command line counts."""
    for name, port in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yaml").write_text(service("s", port))
    assert ports(load([tmp_path / "b.yaml", tmp_path / "a.yaml"])) == {"s": 2}


def test_a_path_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    """And no exception."""
    assert told(load([tmp_path / "no.yaml"], relative_to=tmp_path)) == [("no.yaml", "UnreadableFile")]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Reading it would wait for a writer forever."""
    os.mkfifo(tmp_path / "a.yaml")
    assert told(read(tmp_path)) == [("a.yaml", "UnreadableFile")]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """A mounted ConfigMap: files are links through ``..data`` to a hidden folder of this moment."""
    (tmp_path / "..2030_01").mkdir()
    (tmp_path / "..2030_01/a.yaml").write_text(service("a"))
    (tmp_path / "..data").symlink_to("..2030_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "gone.yaml").symlink_to("..data/gone.yaml")
    (tmp_path / "circle").symlink_to(tmp_path)
    loaded = read(tmp_path)
    assert ports(loaded) == {"a": 80}
    assert loaded.problems == ()


def test_a_broken_file_keeps_its_last_good_objects_until_it_is_mended(tmp_path: Path) -> None:
    """The problem is told while it lasts; other files go on changing."""
    folder = ManifestFolder(tmp_path, relative_to=tmp_path)
    file = tmp_path / "a.yaml"
    file.write_text(service("a", 1))
    folder.reload()
    file.write_text(service("a", 2) + "  {{")
    (tmp_path / "b.yaml").write_text(service("b", 1))
    broken = folder.reload()
    assert ports(broken) == {"a": 1, "b": 1}
    assert told(broken) == [("a.yaml", "InvalidYAML"), ("a.yaml", "LastGoodVersion")]
    file.write_text(service("a", 3))
    mended = folder.reload()
    assert ports(mended) == {"a": 3, "b": 1}
    assert mended.problems == ()


def test_an_object_that_can_not_be_used_keeps_its_last_good_version(tmp_path: Path) -> None:
    """As an API server refuses the new version and keeps the old; its neighbours in the file change."""
    folder = ManifestFolder(tmp_path, relative_to=tmp_path)
    file = tmp_path / "a.yaml"
    file.write_text(f"{service('a', 1)}---\n{service('b', 1)}")
    folder.reload()
    file.write_text(f"{service('a', 2).replace('spec: {', 'spec: {type: Foo, ')}---\n{service('b', 2)}")
    loaded = folder.reload()
    assert ports(loaded) == {"a": 1, "b": 2}
    assert told(loaded) == [("a", "InvalidValue"), ("a", "LastGoodVersion")]
    file.write_text(service("b", 3))
    assert ports(folder.reload()) == {"b": 3}


def test_a_file_that_is_gone_takes_its_objects_with_it(tmp_path: Path) -> None:
    """Also one that was broken."""
    folder = ManifestFolder(tmp_path)
    (tmp_path / "a.yaml").write_text(service("a"))
    (tmp_path / "b.yaml").write_text(service("b"))
    folder.reload()
    (tmp_path / "a.yaml").write_text("{{")
    folder.reload()
    (tmp_path / "a.yaml").unlink()
    assert folder.reload().problems == ()
    assert ports(folder.reload()) == {"b": 80}


def test_an_empty_file_keeps_its_objects_and_one_with_only_comments_does_not(tmp_path: Path) -> None:
    """Empty is what a file looks like between an editor's truncating and writing."""
    folder = ManifestFolder(tmp_path, relative_to=tmp_path)
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    folder.reload()
    file.write_text("")
    assert ports(folder.reload()) == {"a": 80}
    assert told(folder.reload()) == [("a.yaml", "LastGoodVersion")]
    file.write_text("# nothing\n")
    assert ports(folder.reload()) == {}
    assert folder.reload().problems == ()


def test_a_folder_that_is_gone_keeps_everything(tmp_path: Path) -> None:
    """A volume that is away for a moment must not take all routes down."""
    root = tmp_path / "m"
    root.mkdir()
    (root / "a.yaml").write_text(service("a"))
    folder = ManifestFolder(root, relative_to=tmp_path)
    folder.reload()
    root.rename(tmp_path / "away")
    loaded = folder.reload()
    assert ports(loaded) == {"a": 80}
    assert told(loaded) == [("m", "UnreadableFile")]
    (tmp_path / "away").rename(root)
    assert folder.reload().problems == ()


def test_files_that_did_not_change_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp decides: time, size, inode. The same value comes back where nothing changed."""
    past = 1_000_000_000
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(service(name))
        os.utime(tmp_path / f"{name}.yaml", (past, past))
    folder = ManifestFolder(tmp_path, relative_to=tmp_path)
    first = folder.reload()
    opened: list[str] = []

    def spy(path: Path, name: str) -> Content:
        opened.append(name)
        return read_file(path, name)

    monkeypatch.setattr(files, "read_file", spy)
    assert folder.reload() is first
    assert opened == []
    (tmp_path / "b.yaml").write_text(service("b", 2))
    os.utime(tmp_path / "b.yaml", (past, past + 1))
    second = folder.reload()
    assert opened == ["b.yaml"]
    assert second.snapshot.services["default", "a"] is first.snapshot.services["default", "a"]
    assert ports(second) == {"a": 80, "b": 2}


@pytest.mark.parametrize(("age", "port"), [(0, 2), (3600, 1)])
def test_only_the_stamp_of_a_file_that_has_rested_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, port: int
) -> None:
    """Two writes in one tick of the clock leave the same stamp, so a fresh one proves nothing."""
    file = tmp_path / "a.yaml"
    file.write_text(service("a", 1))
    stamp = find([tmp_path]).files[file]
    stamp = msgspec.structs.replace(stamp, modified=time.time_ns() - age * 10**9)
    monkeypatch.setattr(files, "find", lambda _: Found(files={file: stamp}, unreadable={}))
    folder = ManifestFolder(tmp_path)
    folder.reload()
    file.write_text(service("a", 2))
    assert ports(folder.reload()) == {"a": port}


def test_a_file_that_was_only_touched_changes_nothing(tmp_path: Path) -> None:
    """The very same value tells callers that there is nothing to do."""
    file = tmp_path / "a.yaml"
    file.write_text(service("a"))
    folder = ManifestFolder(tmp_path)
    first = folder.reload()
    os.utime(file, (1, 1))
    assert folder.reload() is first
