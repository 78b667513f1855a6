"""``python -m ingress.annotations > docs/annotations.md``"""

from __future__ import annotations

import sys

from ingress.annotations.docs import render_docs

if __name__ == "__main__":
    sys.stdout.write(render_docs())
