"""Whether what was not found is not there: one odd answer is not the truth."""

from switchyard.core.decommission.resources import Activity, Found


def find_doubt(name: str, listed: Found | None, *, is_there: bool) -> str:
    """Returns why an answer that `name` is not there proves nothing; empty: it does prove it, or `name` is there.

    The answer proves something if the whole lists of its kind say so too. If `name` is there, the answer was of a part
    of it.

    Args:
        listed: what the lists hold now; None: they lack their control.
        is_there: it answers by its name.
    """
    if listed is None:
        return "the lists of its kind do not hold their control. Check project, regions and permissions"
    if not listed.listed and not listed.control:
        return f"the list of every {listed.kind} is empty, which proves nothing. Make any other {listed.kind}"
    is_listed = any(one.name == name and one.activity is not Activity.DELETED for one in listed.resources)
    return "it is listed" if is_listed and not is_there else ""
