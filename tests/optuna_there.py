"""Whether Optuna is there: `make test-sweep` puts it beside .venv, which does without."""

from importlib.util import find_spec

import pytest

HAS_OPTUNA = find_spec("optuna") is not None
needs_optuna = [
    pytest.mark.needs_optuna,
    pytest.mark.skipif(not HAS_OPTUNA, reason="needs Optuna: make test-sweep"),
]
