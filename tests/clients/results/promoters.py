"""Runs promoters and rollbacks of one model at the same time, and a reader that looks on.

The races of the registry do this in the normal tests and, a thousand times, in the slow ones.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import text

from switchyard.clients.results.open import ResultsPorts
from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion, Promotion, Rollback
from switchyard.core.registry.stages import Act, Stage
from tests.clients.results.places import Place

NAME = "raced"
PROMOTERS = 3
ROLLBACKS = 2


@dataclass
class Seen:
    """What the racers were answered, and what the reader saw."""

    said: "Counter[str]" = field(default_factory=Counter)
    losers: list[str] = field(default_factory=list)
    productions: "Counter[int]" = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)


def race(place: Place, times: int) -> Seen:
    """Each time, all racers take the champion of the moment for granted and begin at once."""
    ports = [place.open() for _ in range(PROMOTERS + ROLLBACKS)]
    for number in range(1, PROMOTERS + 2):
        file = ModelFile(path="a", size_bytes=number, sha256="ab" * 32)
        place.models.register(
            NewVersion(name=NAME, source_key=f"run:{number}", source_uri="", manifest=to_manifest([file], ""))
        )
    first = PROMOTERS + 1
    place.models.promote(Promotion(name=NAME, version=first, expected=None))
    seen, done = Seen(), threading.Event()
    reader = threading.Thread(target=_look, args=(place.open(), seen, done))
    reader.start()
    start, end = threading.Barrier(len(ports) + 1), threading.Barrier(len(ports) + 1)
    champion: list[int | None] = [first]
    racers = [
        threading.Thread(target=_race, args=(one, index, times, champion, seen, start, end))
        for index, one in enumerate(ports)
    ]
    for racer in racers:
        racer.start()
    for _ in range(times):
        champion[0] = place.models.read_model(NAME).production
        start.wait(timeout=60)
        end.wait(timeout=60)
    done.set()
    for thread in (*racers, reader):
        thread.join(timeout=60)
    for one in ports:
        one.close()
    return seen


def _race(
    ports: ResultsPorts,
    index: int,
    times: int,
    champion: list[int | None],
    seen: Seen,
    start: threading.Barrier,
    end: threading.Barrier,
) -> None:
    for turn in range(times):
        start.wait(timeout=60)
        expected, by = champion[0], f"racer {index}"
        asks: Callable[[], object]
        if index < PROMOTERS:
            version = (index + turn) % (PROMOTERS + 1) + 1
            wanted = Promotion(name=NAME, version=version, expected=expected, by=by, force=True, reason="race")
            asks = lambda: ports.models.promote(wanted)  # noqa: E731, B023  (called before the next turn)
        else:
            back = Rollback(name=NAME, expected=expected, by=by, reason="race")
            asks = lambda: ports.models.roll_back(back)  # noqa: E731, B023  (as above)
        _answer(asks, seen)
        end.wait(timeout=60)


def _answer(ask: Callable[[], object], seen: Seen) -> None:
    try:
        outcome = ask()
        act = getattr(outcome, "act", None)
        seen.said[str(act) if act else "so already"] += 1
    except StaleWrite as err:
        seen.said["lost"] += 1
        seen.losers.append(str(err))
    except BadRequest as err:
        seen.said["nothing to go back to" if "no version to go back to" in str(err) else str(err)] += 1
    except Exception as err:  # noqa: BLE001  (any other is a failure of the race, and must not end its thread)
        seen.failures.append(err)


def _look(ports: ResultsPorts, seen: Seen, done: threading.Event) -> None:
    """Counts how many versions are in Production, by one statement each, as any reader would."""
    query = text("SELECT count(*) FROM switchyard_model_versions WHERE name = :name AND stage = 'Production'")
    while not done.wait(0.001):  # it leaves the others their turn
        ((count,),) = ports.database.rows(query, name=NAME)
        seen.productions[count] += 1
    ports.close()


def check(place: Place, seen: Seen, times: int) -> None:
    """What must be true of a race, however it went."""
    assert seen.failures == []
    assert set(seen.productions) == {1}, seen.productions
    assert seen.productions[1] >= times
    assert set(seen.said) <= {"promoted", "rolled back", "lost", "so already", "nothing to go back to"}, seen.said
    assert seen.said.total() == times * (PROMOTERS + ROLLBACKS)
    assert all("in Production of model raced since" in said and "by racer" in said for said in seen.losers[PROMOTERS:])
    lines = place.models.list_transitions(NAME)
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    entered = [line for line in lines if line.to_stage is Stage.PRODUCTION]
    assert Counter(str(line.act) for line in entered[1:]) == Counter(
        {said: seen.said[said] for said in ("promoted", "rolled back") if seen.said[said]}
    )
    # Each took the place of the one before it, which was archived in the line before.
    for before, after in pairwise(entered):
        left = lines[after.seq - 2]
        assert after.replaced == before.version == left.version
        assert (left.act, left.to_stage) == (Act.REPLACED, Stage.ARCHIVED)
    assert place.models.read_model(NAME).production == entered[-1].version
    assert place.models.read_model(NAME).revision == len(lines)
