"""Tries every fault several times and writes the table of docs/reliability.md: ``python -m tests.faults``.

Ends with status 1 where anything was violated. `--only` tries some and leaves the others' rows; fewer `--tries` write
nothing.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.cases import CASES, Case
from tests.faults.checking import Left, Violations
from tests.faults.prefect_server import serve_prefect
from tests.faults.site import Site, open_site
from tests.faults.table import Row, write_table
from tests.faults.trial import Trial, run_plain

AT_ONCE = 6
"""Tries at once: they wait more than they work."""
TRIES = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose step and words contain this")
    parser.add_argument("--tries", type=int, default=TRIES, help="of each fault")
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--keep", type=Path, help="a new folder for all logs; default: one that is deleted")
    flags = parser.parse_args()
    cases = [case for case in CASES if flags.only in f"{case.step}: {case.fault}"]
    began_at = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="switchyard-faults-") as name,
        serve_prefect() as prefect_api_url,
        open_site(flags.keep or Path(name) / "site", prefect_api_url) as site,
    ):
        plain, _ = run_plain(site)
        rows = try_all(site, plain, cases, tries=flags.tries, at_once=flags.at_once)
    times = os.times()
    work_s = times.user + times.system + times.children_user + times.children_system
    tried = sum(row.tried for row in rows)
    print(f"{len(rows)} faults, {tried} tries in {time.monotonic() - began_at:.0f} s, {work_s:.0f} s of them work")
    if flags.tries >= TRIES:
        write_table(rows)
    return int(any(row.violations for row in rows))


def try_all(site: Site, plain: Left, cases: Iterable[Case], *, tries: int, at_once: int) -> list[Row]:
    """A row for each case; says on stdout what was violated, as it happens."""

    def attempt(place: int, case: Case, number: int) -> Violations:
        began_at = time.monotonic()
        trial = Trial(site, f"fault-{place}", case, number)
        found = trial.check(trial.run(), plain)
        said = "; ".join(found) or "ok"
        took = f"{time.monotonic() - began_at:6.1f} s"
        # One write, which threads do not cut in two.
        print(f"{took}  {place}-{number} {case.step}: {case.fault}: {said}\n", end="", flush=True)
        return found

    with ThreadPoolExecutor(at_once) as pool:
        tried = [
            (case, [pool.submit(attempt, place, case, number) for number in range(tries)])
            for place, case in enumerate(cases)
        ]
        return [Row.of(case, [future.result() for future in futures]) for case, futures in tried]


if __name__ == "__main__":
    sys.exit(main())
