"""Runs every benchmark, or those named, and prints their tables: `make bench`, `python -m tests.bench ingest`.

Each benchmark is a module with ``main() -> dict[str, float | str]``: it prints its table and returns its figures. All
are ratios within one run, for machines are noisy; nothing here fails for a figure.
"""

import argparse
import importlib
import json
import os
import platform

from switchyard.clients.prefect.analytics import switch_off_analytics

BENCHMARKS = (
    "ingest",
    "live",
    "serving",
    "predict",
    "rows",
    "page",
    "many_runs",
    "finding",
    "promotions",
    "reconcile",
    "vertex",
    "step",
    "statistics",
    "evaluation",
    "backfill",
    "follow",
    "validate",
    "artifacts",
)


def main() -> None:
    """Runs them one after the other, and prints all figures as one JSON line at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"expected some of {', '.join(BENCHMARKS)}; got {', '.join(unknown)}")
    switch_off_analytics()  # the benchmarks import Prefect
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    figures = {}
    for name in names:
        print(f"\n## {name}", flush=True)
        figures[name] = importlib.import_module(f"tests.bench.{name}").main()
    print(json.dumps(figures, allow_nan=False))


if __name__ == "__main__":
    main()
