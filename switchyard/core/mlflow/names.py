"""What other tools call the series that we know, and which name each metric key of a run gets."""

from collections.abc import Collection, Mapping
from typing import Final

from switchyard.core.mlflow.keys import BIN_KEYS
from switchyard.core.mlflow.rules import NO_RULES, Rules

OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "loss": (
        *("train_loss", "train_loss_epoch", "training_loss", "train/loss", "train/loss_epoch", "training/loss"),
        *("loss/train", "Loss/train", "epoch_loss"),
    ),
    "val_loss": (
        *("valid_loss", "validation_loss", "eval_loss", "val_loss_epoch", "val/loss", "val/loss_epoch", "valid/loss"),
        *("validation/loss", "eval/loss", "loss/val", "loss/validation", "Loss/val", "Loss/validation"),
        "epoch_val_loss",
    ),
    "total_loss": ("train_total_loss", "train/total_loss"),
    "val_total_loss": (
        *("valid_total_loss", "validation_total_loss", "eval_total_loss", "val/total_loss", "valid/total_loss"),
        *("validation/total_loss", "eval/total_loss"),
    ),
}
"""Our names, and what Keras, Lightning, fastai, Transformers and TensorBoard call the same; the first that a run has
counts. A test set's loss (``test/loss``) is in no row: it is not a validation loss. A key that may be
anything (``validation_0-logloss``, ``train/box_loss``) is in no row either: it is charted under its own name."""

_OURS: Final = {other: name for name, others in OTHER_NAMES.items() for other in others}
_ORDER: Final = {other: position for position, other in enumerate(_OURS)}
MAX_NAME: Final = 250
"""Characters of a name that a rule makes. Source: MAX_ENTITY_KEY_LENGTH, mlflow/utils/validation.py, 2.9.2."""


def choose_names(keys: Collection[str], rules: Rules = NO_RULES) -> tuple[dict[str, str], list[str]]:
    """Returns the keys that get another name, with it, and what to tell of those that could not have theirs.

    No two keys have one name: a key that has the name already keeps it, then a team's rules go before the table, and
    what comes first there goes first. The others keep their own names.

    >>> choose_names(["train_loss", "lr"])
    ({'train_loss': 'loss'}, [])
    """
    wanted = _list_wanted(keys, rules)
    if not wanted:
        return {}, []
    found: dict[str, str] = {}
    holders: dict[str, str] = {}
    warnings: list[str] = []
    present = set(keys)
    for key, name in wanted:
        if name == key:
            continue
        holder = name if name in present else holders.get(name, "")
        if holder:
            warnings.append(f"`{key}` and `{holder}` are both {name!r}: `{key}` is charted under its own name")
        elif not name or len(name) > MAX_NAME or name in BIN_KEYS:
            why = (
                "a histogram's bin" if name in BIN_KEYS else f"of {len(name)} characters; it must have 1 to {MAX_NAME}"
            )
            warnings.append(f"`{key}`: the name that the rules give it is {why}; it is charted under its own name")
        else:
            found[key], holders[name] = name, key
    return found, warnings


def _list_wanted(keys: Collection[str], rules: Rules) -> list[tuple[str, str]]:
    """Returns keys and the names that they should have, the first to be served first."""
    by_table = sorted((key for key in keys if key in _OURS), key=_ORDER.__getitem__)
    if not rules:
        return [(key, _OURS[key]) for key in by_table]
    ruled = {key: (place, name) for key in keys if (found := rules.find(key)) for place, name in [found]}
    first = sorted(ruled, key=lambda key: (ruled[key][0], key))
    return [(key, ruled[key][1]) for key in first] + [(key, _OURS[key]) for key in by_table if key not in ruled]


def to_markdown() -> str:
    """Returns the table for docs/mapping.md."""
    lines = ["| series | also called |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(f'`{other}`' for other in others)} |" for name, others in OTHER_NAMES.items()]
    return "\n".join(lines)
