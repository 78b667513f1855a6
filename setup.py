"""The parts that are compiled, where they are asked for: everything else is in pyproject.toml.

``PYNGRESS_NGHTTP2=1 pip install .`` builds proxy/http2/native.pyx on libnghttp2. Without it HTTP/2 is pure Python.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup

PROBE = """
#include <nghttp2/nghttp2.h>
int main(void) { nghttp2_option_set_max_continuations(0, 0); return 0; }
"""
"""Uses the newest function that is needed (version 1.61; Debian 12 has it in its 1.52)."""
SOURCE = Path("proxy/http2/native.pyx")


def native() -> list[Extension]:
    """The codec on libnghttp2. Asked for and not to be had: an error, never the other codec."""
    asked = os.environ.get("PYNGRESS_NGHTTP2", "")
    if asked in ("", "0"):
        return []
    if asked != "1":
        sys.exit(f"PYNGRESS_NGHTTP2 is 1 or 0, not {asked!r}.")
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        sys.exit(f"PYNGRESS_NGHTTP2=1 needs a C compiler, and there is no {compiler[0]}: apt-get install gcc")
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text(PROBE)
        found = subprocess.run(  # noqa: S603 - the compiler that the builder named
            [*compiler, str(probe), "-o", f"{folder}/probe", "-lnghttp2"], capture_output=True, check=False
        )
    if found.returncode:
        sys.exit(
            "PYNGRESS_NGHTTP2=1 needs libnghttp2 with its headers: apt-get install libnghttp2-dev\n"
            + found.stderr.decode()
        )
    from Cython.Build import cythonize

    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    extension = Extension(
        "proxy.http2.native",
        [str(SOURCE)],
        libraries=["nghttp2"],
        # The tests refuse to run where the source has changed since.
        define_macros=[("PYNGRESS_SOURCE", digest)],
    )
    return cythonize([extension], build_dir="build", force=True)


setup(ext_modules=native())
