"""The rules by which a run's series are named: those of this call, else those that the run had before."""

import msgspec


class KeptRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run's rules; each text is as it was given, and empty if there is none."""

    published: str = ""  # by which it was published last
    published_attempt: int = 0  # of what is published; 0: of no job of ours
    asked: str = ""  # by the request for its newest job that named any
    asked_attempt: int = 0


NO_KEPT_RULES = KeptRules()


def choose_rules(given: str, kept: KeptRules = NO_KEPT_RULES) -> str:
    """Returns the rules to publish a run by: the `given` ones, and without any those that it had.

    So a series keeps its name, whichever flow publishes it next. ``none`` is given, and goes on like any other.

    What was asked for with a training that came after what is published goes before what that was published by.

    >>> choose_rules("", KeptRules(published="a", asked="b", published_attempt=1, asked_attempt=1))
    'a'
    """
    if given.strip():
        return given
    is_newer = kept.asked_attempt > kept.published_attempt
    return (kept.asked or kept.published) if is_newer else (kept.published or kept.asked)
