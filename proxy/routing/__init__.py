"""From host and path to a route: canonical spellings, matching, and the explanation of a match.

Pure: no I/O, no event loop. The control plane may import it to explain; both then use the same code.
"""

from proxy.routing.explain import Candidate, Explanation, explain
from proxy.routing.hosts import BadHost, canonical_host
from proxy.routing.matcher import HostMatcher, Matcher, compile_host
from proxy.routing.paths import BadPath, normalise_path, split_target

__all__ = [
    "BadHost",
    "BadPath",
    "Candidate",
    "Explanation",
    "HostMatcher",
    "Matcher",
    "canonical_host",
    "compile_host",
    "explain",
    "normalise_path",
    "split_target",
]
