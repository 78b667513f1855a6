"""Objects and options in, routing table and Problems out. Pure: no I/O, no clock, no state that shows.

Rules:

1. The result is a function of the whole state; events, and the order in which objects come, mean nothing.
2. Each object is read by itself first (``read_ingress``, ``resolve_backend``, ``read_secret``); only then are the parts
   merged, oldest Ingress first. So the work per object can be remembered.
3. Age decides conflicts: creationTimestamp, then namespace, then name. The loser gets a Problem that names the winner.
4. A wrong object never stops another. It becomes a Problem, and what is left of it serves, or answers 503 where that
   would be unsafe.
"""

from ingress.translate.redact import redact
from ingress.translate.translation import Translation
from ingress.translate.translator import Translator, translate

__all__ = ["Translation", "Translator", "redact", "translate"]
