"""``python -m ingress`` is ``pyngress``."""

from ingress.cli import main

main(prog_name="pyngress")
