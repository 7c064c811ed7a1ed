"""Fits iALS once, in the environment that has `implicit`: ``<python> ials_fit.py <folder> <setting as JSON>``.

Reads ``purchases.npz`` of the folder and writes ``factors.npz`` there. Imports nothing of ours: that environment has
none of it. `trainer.model.ials` starts it.
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
    """Ends this process when the one that started it is gone: its end of our standard input closes."""
    while os.read(0, 1):  # not `sys.stdin`: its lock, held by a waiting thread, would abort the interpreter's own end
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    asked = json.loads(sys.argv[2])
    main(Path(sys.argv[1]), asked, int(asked["seed"]))
