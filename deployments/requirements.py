"""Prints the requirements of the package and of the extras named, one a line, for ``pip install -r``.

An image installs them in a layer of its own, before the sources are copied: a change of the sources then leaves that
layer, the large one, as it is. It needs only the standard library.
"""

import sys
import tomllib
from pathlib import Path


def read_requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Reads the requirements, and what builds the package. Raises: KeyError: there is no such extra."""
    read = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = read["project"]
    needed = [*read["build-system"]["requires"], *project["dependencies"]]
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    return needed


if __name__ == "__main__":
    sys.stdout.write("\n".join(read_requirements(Path("pyproject.toml"), sys.argv[1:])) + "\n")
