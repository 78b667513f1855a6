"""Manifest text: values as kubectl reads them, exact lines, bounds."""

from __future__ import annotations

import time

import pytest

from ingress.resources.manifest import MAX_DEPTH, ManifestError, parse_json, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("0755", 0o755),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-7", -7),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("12:30", "12:30"),
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31", "2030-01-31"),
        ("'yes'", "yes"),
        ('"80"', "80"),
        ("1.2.3.4", "1.2.3.4"),
        ("=", "="),
        ("~", None),
        ("", None),
    ],
)
def test_plain_scalars_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    """Dates and clock times stay text, which other YAML readers turn into something else."""
    assert parse_yaml(f"a: {text}\n")[0].data == {"a": value}


def test_keys_are_strings() -> None:
    """A label such as ``80`` or ``y`` is a key like any other."""
    assert parse_yaml("80: a\ny: b\n")[0].data == {"80": "a", "y": "b"}


def test_documents_have_number_and_line_of_their_first_value() -> None:
    """Comments and separators before a document do not count; empty documents count in the number but hold nothing."""
    text = "# top\n---\n# more\na: 1\n---\n---\n\nb: 2\n...\n--- {c: 3}\n"
    assert [(document.number, document.line, document.data) for document in parse_yaml(text)] == [
        (1, 4, {"a": 1}),
        (3, 8, {"b": 2}),
        (4, 10, {"c": 3}),
    ]


@pytest.mark.parametrize(
    ("path", "line"),
    [((), 1), (("a",), 1), (("b", 0), 3), (("b", 1, "c"), 4), (("b", 1, "d"), 5), (("b", 1, "none"), 4), (("b", 9), 2)],
)
def test_locate_tells_the_line_of_a_field_or_of_what_is_around_it(path: tuple[str | int, ...], line: int) -> None:
    """A missing field has the line of its parent."""
    assert parse_yaml("a: 1\nb:\n  - x\n  - c: 1\n    d: 2\n")[0].locate(path) == line


@pytest.mark.parametrize(
    ("text", "line", "document", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, 'the key "a" stands twice here, first on line 1'),
        ("x: 1\n---\ny:\n  k: 1\n  'k': 2\n", 5, 2, 'the key "k" stands twice here, first on line 4'),
        ("a: 1\n---\nb: {{ .Values.b }}\n", 3, 2, "a key must be a string"),
        ("a:\n\tb: 1\n", 2, 1, "cannot start any token"),
        ("a: [1\n", 1, 1, "did not find expected"),
        ("a: 1\nb: *c\n", 2, 1, "undefined alias"),
        ("a: 1\nb: \x01\n", 2, 1, "#x0001"),
        ("a: &a [1, *a]\n", 1, 1, "contains itself"),
        ("a: !!python/object:os.system {}\n", 1, 1, "is not used in manifests"),
        ("a: !!binary aGk=\n", 1, 1, "is not used in manifests"),
        ("a: " + "9" * 5000 + "\n", 1, 1, "not a number"),
        ("a: 1\n<<: 5\n", 2, 1, "must be a mapping"),
    ],
)
def test_a_fault_of_the_text_is_told_with_its_line(text: str, line: int, document: int, message: str) -> None:
    """Line and document are those of the fault, not of the file."""
    with pytest.raises(ManifestError) as caught:
        parse_yaml(text)
    assert (caught.value.line, caught.value.document) == (line, document)
    assert message in caught.value.message


def test_merge_keys_give_way_to_keys_that_are_there() -> None:
    """``<<`` works as in kubectl and is no duplicate."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2}\nz:\n  <<: [*y, *x]\n  c: 3\nw:\n  a: 9\n  <<: *x\n"
    data = parse_yaml(text)[0].data
    assert data["z"] == {"a": 1, "b": 2, "c": 3}
    assert data["w"] == {"a": 9, "b": 1}


def test_an_alias_bomb_is_refused_at_once() -> None:
    """Ten levels of ten aliases would be ten thousand million values."""
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11))
    began = time.perf_counter()
    with pytest.raises(ManifestError, match="aliases"):
        parse_yaml("a0: &a0 [x]\n" + levels)
    assert time.perf_counter() - began < 1


def test_an_alias_bomb_of_merges_is_refused_at_once() -> None:
    """Merging copies, so it needs the same bound."""
    levels = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 11))
    with pytest.raises(ManifestError, match="aliases"):
        parse_yaml("a0: &a0 {x: 1}\n" + levels)


def test_honest_aliases_are_read() -> None:
    """The bound does not hit what people write."""
    assert parse_yaml("a: &a {x: 1}\nb: [*a, *a]\n")[0].data["b"] == [{"x": 1}, {"x": 1}]


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 100_000])
@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_deep_nesting_is_refused(parse: object, depth: int) -> None:
    """Neither the parser's stack nor ours can be exhausted by text."""
    assert callable(parse)
    with pytest.raises(ManifestError, match="nest"):
        parse("[" * depth + "]" * depth)


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_nesting_up_to_the_bound_is_read(parse: object) -> None:
    """The bound is where it says."""
    assert callable(parse)
    assert len(parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)) == 1


def test_json_values_may_follow_one_another() -> None:
    """As kubectl accepts them; each has its own line."""
    documents = parse_json('\n{"a": 1}\n\n{"b": 2}\nnull\n')
    assert [(document.number, document.line, document.data) for document in documents] == [
        (1, 2, {"a": 1}),
        (2, 4, {"b": 2}),
    ]


@pytest.mark.parametrize(
    ("text", "line", "document", "message"),
    [
        ('{"a": 1,\n"b": {"a": 2, "c": "\\"a\\": 1"},\n"c": 3,\n "a": 4}', 4, 1, '"a" stands twice'),
        ('{"a": 1}\n{"b":\n 1, }', 3, 2, "Expecting property name"),
        ('{"a": NaN}', 1, 1, "NaN"),
        ('{"a": ' + "9" * 5000 + "}", 1, 1, "digits"),
    ],
)
def test_a_fault_of_json_is_told_with_its_line(text: str, line: int, document: int, message: str) -> None:
    """JSON is read as strictly as YAML."""
    with pytest.raises(ManifestError) as caught:
        parse_json(text)
    assert (caught.value.line, caught.value.document) == (line, document)
    assert message in caught.value.message
