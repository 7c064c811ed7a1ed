"""Where a team's own files still name MLflow: which words tell it, what each is, and what to do instead.

It shows only the part of a line that matched, and only scheme and host of an address: a line may hold a secret.
"""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

MAX_BYTES: Final = 2_000_000
"""Larger files are left out, and said: no one writes them by hand."""
_LOOKED_AT: Final = 8_192
"""Bytes of a file in which a zero byte tells that it is not text, as Git does it (buffer_is_binary)."""
_SHOWN: Final = 80


class What(StrEnum):
    """Kinds of mentions."""

    VARIABLE = "variable"
    IMPORT = "import"
    CALL = "call"
    REQUIREMENT = "requirement"
    IMAGE = "image"
    COMMAND = "command"
    ADDRESS = "address"
    MODEL = "model"
    RUN_FILES = "run's files"
    ARTIFACTS = "artifacts"
    NAME = "name"  # in a settings file: a service, a job, a resource


INSTEAD: Final = {
    What.VARIABLE: "Unset it once nothing logs to MLflow any more (docs/mlflow.md, steps 7 and 11).",
    What.IMPORT: "Train with `switchyard train`; until then `--tracker both` writes to both (docs/mlflow.md, step 4).",
    What.CALL: "The trainer writes the metrics file by itself: train with `switchyard train` (docs/mlflow.md, step 4).",
    What.REQUIREMENT: "Remove it once nothing imports it.",
    What.IMAGE: "Remove it with the server (docs/mlflow.md, step 11).",
    What.COMMAND: "Stop it with the server (docs/mlflow.md, step 11).",
    What.ADDRESS: "Link to the run's page instead: `switchyard serve` (docs/api.md).",
    What.MODEL: "Import the model with `switchyard import-models`; the address then names ours (docs/registry.md).",
    What.RUN_FILES: "Register the model with `switchyard register --source`; copied files: docs/artifacts.md.",
    What.ARTIFACTS: "Copy them with `switchyard artifacts copy`, and read the copy (docs/mlflow.md, step 6).",
    What.NAME: "Look at it: it may be a part of the deployment (docs/mlflow.md, step 11).",
}
"""What to do about each kind."""


class Mention(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One place that names MLflow."""

    file: str  # below what was scanned
    line: int  # from 1; in a notebook: of the cell's source
    cell: int = 0  # of a notebook, from 1; 0: it is not in a notebook
    what: What
    found: str  # the word, never the line

    @property
    def instead(self) -> str:
        """What to do about the mention."""
        return INSTEAD[self.what]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A file that was not looked at."""

    file: str
    reason: str


_VALUE: Final = r"[^\s\"'`<>]"
_RULES: Final[tuple[tuple[What, re.Pattern[str]], ...]] = (
    (What.VARIABLE, re.compile(r"(?<![A-Za-z0-9_])MLFLOW_[A-Z][A-Z0-9_]{1,60}")),
    (
        What.IMPORT,
        re.compile(
            r"\b(?:import|from)\s+(?:[\w., ]{1,200}?,\s*)?mlflow(?:\.\w+)*(?![\w-])"
            r"|\bimport_module\(\s*[\"']mlflow[\w.]*[\"']|\blibrary\(mlflow\)|\borg\.mlflow(?:\.\w+)*"
        ),
    ),
    (
        What.CALL,
        re.compile(
            r"(?<![\w./\"'-])(?<!\w@)(?<!import )(?<!from )mlflow(?:\.[A-Za-z_]\w*){1,5}(?=\s*[(\s)\],:]|$)"
            r"|\bMlflowClient\b"
        ),
    ),
    (
        What.REQUIREMENT,
        re.compile(
            r"(?<![\w./-])mlflow(?:-skinny|-tracing)?(?:\[[\w,\s-]{0,60}\])?\s{0,4}(?:===?|~=|!=|[<>]=?|@)\s{0,4}[\w.*+]{1,30}"
            r"|\bpip3?\s+install\b[^#\n]{0,200}?[\s\"']mlflow(?:-skinny|-tracing)?(?=[\s\"'\[]|$)"
        ),
    ),
    (
        What.IMAGE,
        re.compile(r"\bghcr\.io/mlflow/mlflow(?::[\w.-]{1,60})?|\bbitnami(?:legacy)?/mlflow(?::[\w.-]{1,60})?"),
    ),
    (
        What.COMMAND,
        re.compile(
            r"(?<![\w./-])mlflow[\s\"',]{1,6}(?:server|ui|gc|run|db|models|experiments|runs|artifacts|deployments|sagemaker)\b"
        ),
    ),
    (What.ARTIFACTS, re.compile(r"\bmlflow-artifacts:")),
    (
        What.MODEL,
        re.compile(
            r"(?<![\w./-])models:/[^\s\"'/@]{1,80}(?:/(?:\d+|Production|Staging|Archived|None|latest)\b|@[\w-]{1,60})"
            r"|[\"'`]models:/[\w.{}<>$ -]{1,80}(?:[/@][\w{}<>$-]{1,40})?"
        ),
    ),
    (What.RUN_FILES, re.compile(r"(?<![\w./-])runs:/(?:[0-9a-f]{32}|[{$<])|[\"'`]runs:/")),
    (What.ADDRESS, re.compile(r"(?<![\w./@-])mlflow[\w-]{0,60}(?:\.[a-z0-9-]{1,60}){1,6}:\d{2,5}\b")),
    (
        What.ADDRESS,
        re.compile(rf"\b[a-z][a-z0-9+.-]{{1,20}}://{_VALUE}{{0,300}}?mlflow{_VALUE}{{0,300}}", re.IGNORECASE),
    ),
)
_REQUIREMENT_LINE: Final = re.compile(
    r"\s*(?:-\s*)?[\"']?(mlflow(?:-skinny|-tracing)?)(?:\[[\w,\s-]{0,60}\])?[\"']?\s*(?:=.*|,|;.*|#.*)?"
    r"|\s*name = \"(mlflow[\w-]*)\""
)
_HINT: Final = re.compile(r"mlflow|models:/|runs:/", re.IGNORECASE)
_NAME: Final = re.compile("mlflow", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,200}")

_PROSE: Final = {".md", ".rst", ".adoc", ".html", ".svg", ".css"}
_SETTINGS: Final = {
    ".yaml", ".yml", ".toml", ".cfg", ".ini", ".env", ".tf", ".tfvars", ".hcl", ".json", ".sh", ".properties", ".conf",
    ".service",
}  # fmt: skip
_SETTING_NAMES: Final = re.compile(
    r"(?i)(dockerfile|containerfile|makefile|procfile|jenkinsfile)(\..*)?|.*\.dockerfile|\.env.*"
)
_REQUIREMENT_NAMES: Final = re.compile(
    r"(?i).*requirements.*\.(txt|in)|constraints.*\.txt|environment.*\.ya?ml|conda.*\.ya?ml|pipfile(\.lock)?|.*\.lock|"
    r"pyproject\.toml|setup\.(py|cfg)"
)


def is_prose(file: str) -> bool:
    """Returns True for what only people read: what it says of MLflow may stay.

    >>> is_prose("docs/README.md"), is_prose("train.py")
    (True, False)
    """
    return PurePosixPath(file).suffix.lower() in _PROSE


def is_binary(data: bytes) -> bool:
    """Returns True if the beginning of a file is not text."""
    return b"\x00" in data[:_LOOKED_AT]


def find_mentions(file: str, data: bytes) -> list[Mention]:
    """Returns what a file names, by line; `file` says by its name what it is. Bytes that are not UTF-8 are passed over.

    >>> [one.found for one in find_mentions("a.py", b"import mlflow\\nmlflow.log_metric('a', 1)")]
    ['import mlflow', 'mlflow.log_metric']
    """
    text = data.decode(errors="replace")
    if file.endswith(".ipynb"):
        cells = _read_cells(text)
        if cells is not None:
            return [one for number, cell in cells for one in _find_in_lines(f"{file[:-6]}.py", file, cell, number)]
    return list(_find_in_lines(file, file, text, 0))


def _find_in_lines(as_file: str, file: str, text: str, cell: int) -> Iterator[Mention]:
    for number, line in enumerate(text.splitlines(), start=1):
        if _HINT.search(line):
            for what, found in _find_in_line(as_file, line):
                yield Mention(file=file, line=number, cell=cell, what=what, found=found[:_SHOWN])


def _find_in_line(file: str, line: str) -> list[tuple[What, str]]:
    found: dict[tuple[What, str], None] = {}
    for what, pattern in _RULES:
        for hit in pattern.finditer(line):
            found[what, _to_shown(what, hit[0])] = None
    name = PurePosixPath(file).name
    is_listed = any(what is What.REQUIREMENT for what, _ in found) or not _REQUIREMENT_NAMES.fullmatch(name)
    if not is_listed and (match := _REQUIREMENT_LINE.fullmatch(line)):
        found[What.REQUIREMENT, match[1] or match[2]] = None
    is_setting = PurePosixPath(file).suffix.lower() in _SETTINGS or _SETTING_NAMES.fullmatch(name)
    if not found and is_setting and (match := _NAME.search(line)):
        found[What.NAME, match[0]] = None
    return list(found)


def _to_shown(what: What, text: str) -> str:
    """Returns what is shown of a mention.

    For an address it is the scheme, and the host if it names MLflow; for an installation it is the package.
    """
    if what is What.ADDRESS and "://" in text:
        scheme, _, rest = text.partition("://")
        host = re.split(r"[/?#:\\]", rest.rpartition("@")[2])[0]
        return f"{scheme}://{host if _HOST.fullmatch(host) and _NAME.search(host) else '...'}"
    if what is What.REQUIREMENT and text.startswith("pip"):
        return "pip install mlflow"
    if what in (What.MODEL, What.RUN_FILES):
        return text.strip("\"'`")
    return " ".join(text.split())


def _read_cells(text: str) -> list[tuple[int, str]] | None:
    """Returns the code of a notebook's cells, by number, without what they answered; None: it is not a notebook."""
    try:
        notebook: Any = json.loads(text)
        cells = [(number, cell) for number, cell in enumerate(notebook["cells"], start=1)]
        code = [(number, cell["source"]) for number, cell in cells if cell["cell_type"] == "code"]
        return [(number, source if isinstance(source, str) else "".join(source)) for number, source in code]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
