"""Fits iALS once, in the environment that has `implicit`: ``<python> ials_fit.py <folder> <setting as JSON>``.

It reads ``purchases.npz`` in the folder and writes ``factors.npz`` there. It imports nothing of this project, which is
not installed in that environment. `trainer.model.ials` starts it.
"""

import json
import os
import sys
import threading
from pathlib import Path


def main(folder: Path, setting: dict[str, float | str], seed: int) -> None:
    """Writes both sides' factors, [buyers, factors] and [products, factors] float32."""
    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    with np.load(folder / "purchases.npz", allow_pickle=False) as held:
        counts, places, starts, products = (held[name] for name in ("counts", "places", "starts", "products"))
    values = counts.astype(np.float32)
    if setting["purchases"] == "log counts":
        values = np.log1p(values)
    bought = csr_matrix((values, places, starts), shape=(len(starts) - 1, int(products)))
    model = AlternatingLeastSquares(
        factors=int(setting["factors"]),
        regularization=float(setting["regularization"]),
        alpha=float(setting["alpha"]),
        iterations=int(setting["iterations"]),
        random_state=seed,
        num_threads=int(setting.get("threads", 0)),
    )
    model.fit(bought, show_progress=False)
    np.savez(folder / "factors.npz", query=model.user_factors, candidate=model.item_factors)


def end_with_parent() -> None:
    """Ends this process when the process that started it is gone, which closes our standard input."""
    # Not `sys.stdin`: a thread that waits there holds its lock, and the interpreter would abort at exit.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    asked = json.loads(sys.argv[2])
    main(Path(sys.argv[1]), asked, int(asked["seed"]))
