"""iALS as a baseline, fitted by `implicit` in its own environment; its setting is chosen on validation.

Source: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008. A well-tuned iALS
is hard to beat: Rendle, Krichene, Zhang and Koren, "Revisiting the performance of iALS", RecSys 2022.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from switchyard.core.errors import BadSetup
from trainer.model.baselines import Vectors
from trainer.model.blending import Past

Setting = dict[str, float | int | str]

BEST: Final[Setting] = {
    "purchases": "counts",
    "factors": 256,
    "regularization": 9.0,
    "alpha": 0.5,
    "iterations": 30,
}
"""The best of 79 on the validation window of Online Retail."""
NEIGHBOURS: Final[tuple[Setting, ...]] = (
    {"factors": 128},
    {"factors": 64},
    {"regularization": 4.0},
    {"regularization": 6.0},
    {"regularization": 13.0},
    {"regularization": 20.0},
    {"alpha": 0.25},
    {"alpha": 1.0},
    {"iterations": 15},
    {"purchases": "log counts"},
)
"""The other settings: how each differs from BEST."""
MOST_S: Final = 1_800.0
"""The longest time for all fits together. If they take longer, iALS is left out: how many of them were done would
depend on the machine."""
MOST_FACTORS: Final = 500_000_000
"""The most numbers in both sides' factors, 2 GB. Above that, iALS is left out."""
_LOOK_S: Final = 0.2
_SCRIPT: Final = Path(__file__).with_name("ials_fit.py")
_SAID: Final = 300


def list_settings() -> list[Setting]:
    """Returns BEST and its NEIGHBOURS, each as a full setting."""
    return [BEST, *({**BEST, **changed} for changed in NEIGHBOURS)]


def fit_all(
    python: str, past: Past, *, seed: int, check: Callable[[], None], settings: list[Setting] | None = None
) -> Iterator[tuple[Setting, Vectors]]:
    """Yields each setting and its vectors, one after the other, so that few vectors are in memory at once.

    Args:
        python: the Python of the environment that has `implicit`.
        check: called during the fits; an exception from it ends them.

    Raises:
        BadSetup: `python` does not start, its `implicit` fails, or the fits take longer than MOST_S.
    """
    until = time.monotonic() + MOST_S
    with tempfile.TemporaryDirectory(prefix="switchyard-") as name:
        folder = Path(name)
        purchases: dict[str, Any] = {"counts": past.counts, "places": past.places, "starts": past.starts}
        np.savez(folder / "purchases.npz", **purchases, products=np.int64(len(past.share)))
        for setting in settings or list_settings():
            _fit(python, folder, {**setting, "seed": seed}, until, check)
            with np.load(folder / "factors.npz", allow_pickle=False) as held:
                yield setting, Vectors(held["query"], held["candidate"])


def _fit(python: str, folder: Path, setting: Setting, until: float, check: Callable[[], None]) -> None:
    # `implicit` has threads of its own; with a second pool, the matrix library's, they would wait for each other.
    # The rest of our environment is not passed on: it may hold passwords.
    variables = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PATH": os.defpath}
    with (folder / "said").open("wb") as said:
        try:
            process = subprocess.Popen(
                [python, "-I", str(_SCRIPT), str(folder), json.dumps(setting)],
                stdin=subprocess.PIPE,  # when it closes, the process knows that ours is gone
                stdout=said,
                stderr=subprocess.STDOUT,
                env=variables,
            )
        except OSError as err:
            raise BadSetup(f"{python} could not be started: {err.strerror}") from err
        try:
            while process.poll() is None:
                check()
                if time.monotonic() > until:
                    raise BadSetup(f"its fits took longer than {MOST_S:.0f} s on this machine")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
        finally:
            process.kill()
            process.communicate()
    if process.returncode:
        words = (folder / "said").read_text(errors="replace").strip()
        last = words.splitlines()[-1][:_SAID] if words else "it said nothing"
        raise BadSetup(f"`implicit` failed in {python} with exit status {process.returncode}: {last}")
