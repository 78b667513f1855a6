"""What the proxy makes of each oddity that a client may send."""

from __future__ import annotations

from tests.golden.framing.cases import CASES
from tests.golden.framing.verdict import DISAGREEMENT, VERDICTS, verdicts


async def test_every_oddity_gets_its_verdict() -> None:
    """Answer, end of the connection and what the backend saw stand in ``verdicts.txt`` for each case."""
    now = (await verdicts()).split("\n\n")
    written = VERDICTS.read_text().split("\n\n")
    assert [block for block in now if block not in written] == []
    assert [block for block in written if block not in now] == []
    assert len(now) == len(CASES) == len({case.name for case in CASES})


def test_no_verdict_lets_the_backend_see_what_the_client_did_not_ask() -> None:
    """A refused case ends its connection and reaches no backend; others reach it as often as they are answered."""
    text = VERDICTS.read_text()
    assert DISAGREEMENT not in text
    for block in text.split("\n\n"):
        answer, *seen = block.partition("\n-> ")[2].rstrip("\n").split("\n")
        if answer.startswith(("4", "5")):
            assert "closed" in answer, block
            assert not seen, block
