"""One spelling per path: what is decoded, kept, removed and refused."""

from __future__ import annotations

import pytest

from proxy.routing import BadPath, normalise_path, split_target


@pytest.mark.parametrize("path", [b"/", b"/foo", b"/foo/bar.html", b"/a.b/c..d/e.", b"/a;v=1/b", b"/@:!$&'()*+,;=~-_"])
def test_a_normal_path_comes_back_as_the_very_same_object(path: bytes) -> None:
    """The common case allocates nothing."""
    assert normalise_path(path) is path


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/%66oo", b"/foo"),
        (b"/%7Euser", b"/~user"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/a%5cb", b"/a%5Cb"),
        (b"/a%20b", b"/a%20b"),
        (b"/a%09b", b"/a%09b"),
        (b"/caf%c3%a9", b"/caf%C3%A9"),
        (b"/a%3bb", b"/a%3Bb"),
        (b"/a%3fb", b"/a%3Fb"),
        (b"/a%23b", b"/a%23b"),
        (b"/%2541", b"/%2541"),
        (b"/%252e%252e/x", b"/%252e%252e/x"),
    ],
)
def test_escapes_of_unreserved_characters_are_decoded_once_and_others_kept(path: bytes, normal: bytes) -> None:
    """RFC 3986 section 6.2.2: unreserved decoded, hex in upper case, an escaped % never opens a second round."""
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/café".encode(), b"/caf%C3%A9"),
        (b"/\xff", b"/%FF"),
        (b"/a b", b"/a%20b"),
        (b'/{id}|"<>^`', b"/%7Bid%7D%7C%22%3C%3E%5E%60"),
    ],
)
def test_bytes_that_may_not_stand_in_a_path_are_escaped(path: bytes, normal: bytes) -> None:
    """The raw and the escaped spelling of a byte are one path, and what goes to the backend is valid."""
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/./a", b"/a"),
        (b"/a/.", b"/a/"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/b/../", b"/a/"),
        (b"/a/b/c/./../../g", b"/a/g"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/%2e/b", b"/a/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/.hidden", b"/.hidden"),
        (b"/...", b"/..."),
        (b"/..a/b", b"/..a/b"),
    ],
)
def test_dot_segments_are_removed_after_decoding(path: bytes, normal: bytes) -> None:
    """RFC 3986 section 5.2.4, however the dots are spelled; names that only begin with a dot stay."""
    assert normalise_path(path) == normal


@pytest.mark.parametrize(
    ("path", "merged", "kept"),
    [
        (b"//", b"/", b"//"),
        (b"//a///b//", b"/a/b/", b"//a///b//"),
        (b"/a//../b", b"/b", b"/a/b"),
        (b"/a//..", b"/", b"/a/"),
        (b"/.//a", b"/a", b"//a"),
    ],
)
def test_runs_of_slashes_become_one_unless_switched_off(path: bytes, merged: bytes, kept: bytes) -> None:
    """Merging goes before dot segments, as in nginx; without it empty elements are elements."""
    assert normalise_path(path) == merged
    assert normalise_path(path, merge_slashes=False) == kept


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"", "begin"),
        (b"foo", "begin"),
        (b"*", "begin"),
        (b"%2Ffoo", "begin"),
        (b"/%", "two hex"),
        (b"/%4", "two hex"),
        (b"/%zz", "two hex"),
        (b"/%+1", "two hex"),
        (b"/% 1", "two hex"),
        (b"/%u0041", "two hex"),
        (b"/%00", "NUL"),
        (b"/a%0ab", "NUL"),
        (b"/a%0Db", "NUL"),
        (b"/a\x00b", "control"),
        (b"/a\tb", "control"),
        (b"/a\rb", "control"),
        (b"/a\nb", "control"),
        (b"/a\x7fb", "control"),
        (b"/a\\b", "backslash"),
        (b"/a#b", "#"),
        (b"/a?b", r"\?"),
        (b"/..", "above the root"),
        (b"/a/../..", "above the root"),
        (b"/%2e%2e/x", "above the root"),
        (b"//..", "above the root"),
        (b"/a/..;/b", "hides"),
        (b"/a/..;x=1", "hides"),
        (b"/a/.;x/b", "hides"),
        (b"/a/%2e%2e;x/b", "hides"),
        (b"/a/..%3Bx/b", "hides"),
        (b"/a/..%2Fadmin", "hides"),
        (b"/a%2f..%2fadmin", "hides"),
        (b"/a%2f../admin", "hides"),
        (b"/a%5c..", "hides"),
        (b"/a/..%5cadmin", "hides"),
    ],
)
def test_a_path_without_a_safe_meaning_is_refused(path: bytes, reason: str) -> None:
    """Broken escapes, controls, climbing above the root and dot segments that a backend may see are all refused."""
    with pytest.raises(BadPath, match=reason):
        normalise_path(path)


@pytest.mark.parametrize("merge", [True, False])
def test_hundreds_of_thousands_of_slashes_and_dots_are_no_work(merge: bool) -> None:
    """The cost is linear: the longest hostile paths end far inside the test's time limit."""
    assert normalise_path(b"/a/.." * 100_000 + b"/x", merge_slashes=merge) == b"/x"
    assert normalise_path(b"/" * 500_000, merge_slashes=merge) == (b"/" if merge else b"/" * 500_000)
    assert normalise_path(b"/" + b"%41" * 100_000, merge_slashes=merge) == b"/" + b"A" * 100_000


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [(b"/a", b"/a", b""), (b"/a?", b"/a", b"?"), (b"/a?b=c?d", b"/a", b"?b=c?d"), (b"?", b"", b"?")],
)
def test_a_target_splits_at_its_first_question_mark(target: bytes, path: bytes, query: bytes) -> None:
    """Path and query joined are the target again, byte for byte."""
    assert split_target(target) == (path, query)
    assert path + query == target
