"""Finds the weights of each tower by patterns on Keras 3's ``variable.path``.

``.path`` is the full path from the model (``two_tower/query_tower/embeddings``); ``.name`` is only its end
(``kernel``, ``embeddings``), which is the same in both towers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from switchyard.core.errors import BadRequest

TOWER_PATTERNS: Mapping[str, str] = {"query": "query|buyer", "candidate": "candidate|product"}


def match_towers(variables: Iterable[Any], patterns: Mapping[str, str] = TOWER_PATTERNS) -> dict[str, list[Any]]:
    """Returns each tower's variables, in the model's order: their paths contain a match of the tower's pattern.

    Raises:
        BadRequest: a pattern matches no variable, or a variable matches two patterns; the message lists all paths.
    """
    paths = {variable.path: variable for variable in variables}
    matches = {tower: [path for path in paths if re.search(pattern, path)] for tower, pattern in patterns.items()}
    problems = [
        f"the pattern {patterns[tower]!r} of the {tower} tower matches no trainable weight"
        for tower, found in matches.items()
        if not found
    ]
    for path in paths:
        towers = [tower for tower, found in matches.items() if path in found]
        if len(towers) > 1:
            problems.append(f"{path} matches the patterns of {' and '.join(towers)}")
    if problems:
        raise BadRequest(
            f"{'; '.join(problems)}. The model's paths are: {', '.join(paths) or 'none'}. Say which are a tower's: "
            'towers={"query": "<regex>", "candidate": "<regex>"}'
        )
    return {tower: [paths[path] for path in found] for tower, found in matches.items()}
