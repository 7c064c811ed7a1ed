"""Promotions a second, on SQLite and Postgres, by one promoter and by four at once.

They are one promoter, four of as many models, and four of one model, where one wins and the others are told so; and one
promoter of a model with a history of 10,000 lines.

Each model has 10 versions of 20 files. A promotion is one transaction: the lock, the comparison with the champion that
is expected, two versions, two lines of history. Beside it stands a transaction that changes one row, on the same
database, for what a write costs where this runs. Both databases wait for the disk (Postgres: fsync on). The four
promoters are threads of one process.

    python -m tests.bench.promotions 200    # fewer promotions, to try it with
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import text

from switchyard.clients.results.migrate import migrate
from switchyard.clients.results.open import ResultsPorts, open_results
from switchyard.clients.settings import read_settings
from switchyard.core.errors import StaleWrite
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion, Promotion
from tests.postgres import Postgres

PROMOTIONS: Final = 1_000
VERSIONS: Final = 10
FILES: Final = 20
PROMOTERS: Final = 4
HISTORY: Final = 10_000


def main(promotions: int = PROMOTIONS) -> dict[str, float | str]:
    """Prints a line a question and database, and returns the figures."""
    figures: dict[str, float | str] = {}
    print(f"{promotions:,} promotions each, {VERSIONS} versions of {FILES} files; {PROMOTERS} promoters where several")
    with tempfile.TemporaryDirectory(prefix="promotions-") as folder:
        for database, url in _databases(Path(folder)):
            migrate(read_settings({"RESULTS_URL": url, "STATE_DIR": folder}))
            figures |= measure(database, url, promotions)
    return figures


def measure(database: str, url: str, promotions: int) -> dict[str, float | str]:
    """The figures of one database."""
    results = open_results(url)
    for number in range(PROMOTERS + 1):
        make_model(results, f"model {number}")
    figures: dict[str, float | str] = {}

    def say(question: str, key: str, times_s: list[float], elapsed_s: float, more: str = "") -> None:
        a_second = len(times_s) / elapsed_s
        median_ms = statistics.median(times_s) * 1e3
        print(f"{database:9} {question:44} {a_second:8.1f} a second, median {median_ms:7.2f} ms{more}", flush=True)
        figures[f"{database}_{key}_a_second"], figures[f"{database}_{key}_ms"] = a_second, median_ms

    bare, elapsed_s = _time(lambda _: _write_bare(results), promotions)
    say("a bare transaction", "bare", bare, elapsed_s)
    one, elapsed_s = _time(lambda turn: _promote(results, "model 0", turn), promotions)
    say("one promoter", "one", one, elapsed_s, f", {statistics.median(one) / statistics.median(bare):.1f} bare ones")
    own, elapsed_s, _ = _race(url, [f"model {number + 1}" for number in range(PROMOTERS)], promotions // PROMOTERS)
    say(f"{PROMOTERS} promoters, a model each", "own", own, elapsed_s)
    same, elapsed_s, lost = _race(url, ["model 1"] * PROMOTERS, promotions // PROMOTERS)
    say(f"{PROMOTERS} promoters of one model", "same", same, elapsed_s, f"; {lost:,} were told that they had lost")
    while (lines := results.models.read_model("model 0").revision) < min(HISTORY, 10 * promotions):
        _promote(results, "model 0", lines)
    long, elapsed_s = _time(lambda turn: _promote(results, "model 0", turn), promotions)
    say(f"one promoter, after a history of {lines:,} lines", "long", long, elapsed_s)
    results.close()
    return figures


def make_model(results: ResultsPorts, name: str) -> None:
    """A model whose versions may all be promoted; the first one is."""
    for number in range(1, VERSIONS + 1):
        files = [ModelFile(path=f"model/{i:03}", size_bytes=number, sha256="ab" * 32) for i in range(FILES)]
        results.models.register(
            NewVersion(name=name, source_key=f"run:{number}", source_uri="", manifest=to_manifest(files, ""))
        )
    results.models.promote(Promotion(name=name, version=1, expected=None))


def _promote(results: ResultsPorts, name: str, turn: int) -> bool:
    """Whether it was promoted: another one may have become champion between the look and the request."""
    champion = results.models.read_model(name).production
    assert champion is not None
    version = champion % VERSIONS + 1
    wanted = Promotion(name=name, version=version, expected=champion, force=True, reason="bench", by=f"turn {turn}")
    try:
        return results.models.promote(wanted).act is not None
    except StaleWrite:
        return False


def _write_bare(results: ResultsPorts) -> None:
    with results.database.writing() as connection:
        connection.execute(text("UPDATE switchyard_models SET share = 0.5 - share WHERE name = 'model 0'"))


def _time(work: Callable[[int], object], repeats: int) -> tuple[list[float], float]:
    """Of each call, and of all."""
    work(0)
    began, times = time.perf_counter(), []
    for turn in range(repeats):
        started = time.perf_counter()
        work(turn)
        times.append(time.perf_counter() - started)
    return times, time.perf_counter() - began


def _race(url: str, names: list[str], promotions: int) -> tuple[list[float], float, int]:
    """The times of the promotions that won, and of all, and how many lost: a promoter for each of `names`.

    Each goes on until it has promoted so often.
    """
    said: Counter[str] = Counter()
    times: list[float] = []
    start = threading.Barrier(len(names) + 1)

    def promote(name: str) -> None:
        results, won = open_results(url), 0
        start.wait()
        while won < promotions:
            started = time.perf_counter()
            if _promote(results, name, won):
                won += 1
                times.append(time.perf_counter() - started)
            else:
                said["lost"] += 1
        results.close()

    threads = [threading.Thread(target=promote, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - began, said["lost"]


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite:///{folder / 'results.db'}"
    server = Postgres(folder)
    server.execute("ALTER SYSTEM SET fsync = on")  # the tests' servers do without
    server.execute("SELECT pg_reload_conf()")
    try:
        yield "postgres", server.url("postgres")
    finally:
        server.remove()


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
