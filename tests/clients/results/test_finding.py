"""Finding runs among many: what is found, in which order, page by page, on every kind of database and table."""

import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from switchyard.clients.postgres.deadlines import waiting_at_most
from switchyard.clients.results import engine, finding, showing
from switchyard.clients.results.conditions import Conditions
from switchyard.core.comparison.fields import COLUMNS, FOREIGN_COLUMNS, Field
from switchyard.core.comparison.filter import And, Compare, Expression, Not, Or, parse_fields, parse_filter, to_text
from switchyard.core.comparison.found import RunQuery, check_shown
from switchyard.core.comparison.order import Order, parse_order
from switchyard.core.errors import BadRequest
from switchyard.core.history.publication import Value
from tests.clients.results.finding_world import NUMBERS, TEXTS, Made, expected_ids, find_all, make_runs, to_shown
from tests.clients.results.places import NOW, Place, publication

FIELDS = [
    Field("metrics", "recall"),
    Field("metrics", "val loss"),
    Field("metrics", "nobody has it"),
    Field("best", "val loss"),
    Field("params", "optimizer"),
    Field("params", "`odd` ü"),
    Field("tags", "team"),
]
TRIES = 24


@pytest.fixture(params=["few", "walk", "both"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to find the runs: by an index of the filter, by the order's, or whichever has fewer runs."""
    monkeypatch.setattr(finding, "FEW", {"few": 10_000, "walk": -1, "both": 8}[request.param])
    monkeypatch.setattr(finding, "TRIED", 5)
    return str(request.param)


def find(place: Place, filter_text: str = "", order: str = "id desc", **more: Any) -> list[int]:
    query = RunQuery(limit=more.pop("limit", 50), filter=parse_filter(filter_text), order=parse_order(order), **more)
    return [run.id for run in find_all(place, query)]


def random_term(source: random.Random, place: Place) -> Compare:
    columns = [Field("", name) for name in (FOREIGN_COLUMNS if place.table else COLUMNS)]
    field = source.choice(FIELDS if source.random() < 0.7 else columns)
    type_, operators = source.choice(sorted(field.operators.items()))
    operator = source.choice(operators)
    constants: dict[str, tuple[Any, ...]] = {
        "number": (*NUMBERS, 5.5, 60.0),
        "whole number": (-1, 1, 2, 5, 9, 14, 2**62),
        "text": (*TEXTS, "completed", "failed", "one", "two%", "e" * 400, "n" * 300 + "a"),
        "time": (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, 12, tzinfo=UTC)),
    }
    if operator in ("LIKE", "NOT LIKE"):
        patterns = ("a%", "%a", "_da%", "sgd\\%", "sgd\\_%", "%", "", "é_", "n%", "e%e", "%'%", "nnn%b", "completed")
        return Compare(field, operator, (source.choice(patterns),))
    count = source.randint(1, 4) if operator in ("IN", "NOT IN") else 1
    return Compare(field, operator, tuple(source.choice(constants[type_]) for _ in range(count)))


def random_filter(source: random.Random, place: Place, depth: int = 3) -> Expression:
    kind = source.random()
    if depth == 0 or kind < 0.35:
        return random_term(source, place)
    if kind < 0.5:
        return Not(random_filter(source, place, depth - 1))
    terms = tuple(random_filter(source, place, depth - 1) for _ in range(source.randint(2, 3)))
    return And(terms) if kind < 0.8 else Or(terms)


def test_any_filter_finds_what_it_says_in_its_order(place: Place, way: str) -> None:
    """Held against the same meaning written without SQL, with pages of any size; each line shows the run's values."""
    runs = make_runs(place, 16)
    by_id = {run.id: run for run in runs}
    source = random.Random(way)
    columns = [Field("", name) for name in (FOREIGN_COLUMNS if place.table else COLUMNS)]
    for _ in range(TRIES):
        query = RunQuery(
            limit=source.choice([1, 3, 7, 50]),
            filter=random_filter(source, place) if source.random() < 0.9 else None,
            order=Order(source.choice([*FIELDS, *columns]), descending=source.random() < 0.5),
            fields=tuple(FIELDS),
        )
        found = find_all(place, query)
        assert [run.id for run in found] == expected_ids(runs, query), f"{to_text(query.filter)} | {query.order}"
        for run in found:
            assert run.values == to_shown(by_id[run.id], FIELDS)


def test_order_on_the_field_that_is_filtered_begins_there(place: Place, way: str) -> None:
    """The very range is walked; nothing outside of it comes, with whatever else there is."""
    runs = make_runs(place, 16)
    for text in (
        "metrics.recall > 0.1",
        "metrics.recall <= 0.25 and status != 'failed'",
        "params.optimizer LIKE 'a%' and not params.optimizer = 'adam'",
    ):
        for order in ("metrics.recall desc", "metrics.recall asc", "params.optimizer asc"):
            query = RunQuery(limit=2, filter=parse_filter(text), order=parse_order(order))
            assert [run.id for run in find_all(place, query)] == expected_ids(runs, query)


def publish(place: Place, run: int, *values: Value, charted: str = "a") -> None:
    place.histories.publish(msgspec.structs.replace(publication(run, charted), values=list(values)), now=NOW)


def test_final_value_goes_before_the_last_one(place: Place, way: str) -> None:
    """Of a metric that a run has as both; another run may have it as either."""
    one, two, three = (place.add_run(f"run {number}") for number in range(3))
    publish(place, one, Value(kind="final", name="x", number=1.0), Value(kind="last", name="x", number=9.0))
    publish(place, two, Value(kind="last", name="x", number=5.0))
    publish(place, three, Value(kind="final", name="x", number=7.0))
    assert find(place, "metrics.x > 4", "metrics.x desc") == [three, two]
    assert find(place, "", "metrics.x asc") == [one, two, three]
    assert find(place, "metrics.x = 9") == []


def test_run_with_two_values_of_one_name_is_listed_once(place: Place, way: str) -> None:
    """Names may be the same only here, without what no database takes; the greater counts."""
    one, two = place.add_run("one"), place.add_run("two")
    publish(place, one, Value(kind="final", name="x\0", number=1.0), Value(kind="final", name="x\ufffd", number=3.0))
    publish(place, two, *[Value(kind="final", name="x\ufffd", number=2.0)] * 2)
    for limit in (1, 50):
        assert find(place, "", "metrics.`x\ufffd` asc", limit=limit) == [two, one]
        assert find(place, "metrics.`x\ufffd` < 3", "metrics.`x\ufffd` desc", limit=limit) == [two]
    (line, _) = find_all(place, RunQuery(limit=9, order=parse_order("id asc"), fields=(Field("metrics", "x\ufffd"),)))
    assert list(line.values.values()) == [3.0]


def test_values_of_a_replaced_history_are_not_used(application_place: Place, way: str) -> None:
    """The application has written another history, or none, over ours: the run has no values, as if it never had."""
    place = application_place
    kept, replaced, deleted = (place.add_run(name) for name in ("kept", "replaced", "deleted"))
    for run in (kept, replaced, deleted):
        publish(place, run, Value(kind="final", name="x", number=float(run)), Value(kind="tag", name="t", text="a"))
    assert find(place, "metrics.x > 0", "metrics.x desc") == [deleted, replaced, kept]
    place.set_history(
        replaced, '{"available": true, "epochs": [0], "loss": {"train": [1.0]}, "gradient": {}}' + " " * 400
    )
    place.set_history(deleted, None)
    assert find(place, "metrics.x > 0", "metrics.x desc") == [kept]
    assert find(place, "not metrics.x > 0") == [deleted, replaced]
    assert find(place, "not (tags.t = 'a' and metrics.x > 0) or id = 1", "id asc") == [kept, replaced, deleted]
    assert find(place, "", "metrics.x asc") == [kept, deleted, replaced]
    assert find(place, "", "tags.t asc", limit=1) == [kept, deleted, replaced]
    (line,) = [run for run in find_all(place, RunQuery(limit=9, fields=(Field("metrics", "x"),))) if run.id == replaced]
    assert line.values == {"metrics.x": None}


def test_values_of_a_legacy_history_are_used(place: Place, way: str) -> None:
    """They were filled, and carry the hash of the text that they came from."""
    text = (
        '{"available": true, "epochs": [0, 5], "loss": {"train": [1.5, NaN], "val": [1.6]},  "gradient": {}}'
        + " " * 400
    )
    run = place.add_run("legacy", "completed", text if place.history_type == "text" else text.replace("NaN", "1"))
    etag = place.histories.read_history(run).etag
    place.sql(
        "INSERT INTO switchyard_values (quick_test_id, kind, name, number, history_etag) "
        "VALUES (:run, 'last', 'loss', 1.5, :etag)",
        run=run,
        etag=etag,
    )
    (line,) = find_all(
        place, RunQuery(limit=9, filter=parse_filter("metrics.loss = 1.5"), fields=(Field("metrics", "loss"),))
    )
    assert (line.id, line.values) == (run, {"metrics.loss": 1.5})


def test_deleted_run_is_not_found(place: Place, way: str) -> None:
    """Its owner may delete a row; its values stay behind, for no key points at it."""
    one, two = place.add_run("one"), place.add_run("two")
    for run in (one, two):
        publish(place, run, Value(kind="final", name="x", number=1.0))
    place.sql(f"DELETE FROM {place.runs_table} WHERE id = :id", id=two)
    assert find(place, "metrics.x = 1", "metrics.x asc") == find(place, "", "metrics.x asc") == [one]


def test_archived_runs_are_left_out_unless_asked_for(own_place: Place, way: str) -> None:
    """Alone, or with the others; the plain list leaves them out too."""
    one, two = own_place.add_run("one"), own_place.add_run("two")
    own_place.sql("UPDATE quick_tests SET archived_at = '2026-01-15 10:30:00+00' WHERE id = :id", id=two)
    assert [run.id for run in own_place.runs.list_runs(limit=9)] == [one]
    for order in ("id desc", "metrics.x desc", "name asc"):
        assert find(own_place, "", order) == [one]
        assert find(own_place, "id > 0", order, archived="only") == [two]
        assert find(own_place, "id > 0", order, archived="any") in ([one, two], [two, one])


def test_columns_that_an_application_has_not_are_refused_by_name(application_place: Place) -> None:
    """In a filter, an order, as an experiment; and what cannot be archived."""
    for name in sorted(set(COLUMNS) - set(FOREIGN_COLUMNS)):
        constant = "3" if name == "duration_s" else "'2026-01-01'"
        with pytest.raises(BadRequest, match=rf"{name}: .*RESULTS_TABLE"):
            find(application_place, f"id = 1 and not {name} = {constant}")
        with pytest.raises(BadRequest, match=rf"{name}: .*RESULTS_TABLE"):
            find(application_place, "", f"{name} asc")
    with pytest.raises(BadRequest, match="experiment"):
        find(application_place, experiment="one")
    with pytest.raises(BadRequest, match="archived"):
        find(application_place, archived="only")


def test_experiment_is_asked_for_beside_the_filter(own_place: Place, way: str) -> None:
    """Exactly that one, also a long one."""
    runs = make_runs(own_place, 16)
    for experiment in ("one", "e" * 400, "e" * 399, "on"):
        query = RunQuery(limit=3, filter=parse_filter("status = 'failed' or id < 9"), experiment=experiment)
        same = [run for run in runs if run.columns["experiment"] == experiment]
        assert [run.id for run in find_all(own_place, query)] == expected_ids(same, query)


def test_all_values_of_a_section_are_shown(place: Place) -> None:
    """By name, and of a metric that is final and last the final one; with too many, they are to be named."""
    runs = make_runs(place, 3)
    fields = parse_fields("metrics.*,params.*,metrics.nothing", of="fields")
    for line in find_all(place, RunQuery(limit=9, fields=fields)):
        run: Made = next(one for one in runs if one.id == line.id)
        named = sorted({name for kind, name in run.values if kind in ("final", "last")})
        params = sorted(name for kind, name in run.values if kind == "param")
        asked = [*(Field("metrics", name) for name in named), *(Field("params", name) for name in params)]
        assert list(line.values.items()) == [*to_shown(run, asked).items(), ("metrics.nothing", None)]


def test_too_many_values_to_show_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to do."""
    make_runs(place, 3)
    monkeypatch.setattr(showing, "MAX_SHOWN_VALUES", 2)
    with pytest.raises(BadRequest, match="name those to show"):
        find_all(place, RunQuery(limit=9, fields=parse_fields("params.*", of="fields")))


def test_columns_are_not_shown_as_values() -> None:
    """Every line has them."""
    with pytest.raises(BadRequest, match="status is always there"):
        check_shown(parse_fields("metrics.x,status", of="fields"))


def test_run_whose_row_cannot_be_read_hides_no_other(places: Any, tmp_path: Any) -> None:
    """It has a line that says so. SQLite stores any value in any column."""
    place = places.make("sqlite", tmp_path)
    one, two = place.add_run("one"), place.add_run("two")
    place.sql("UPDATE quick_tests SET started_at = 'yesterday' WHERE id = :id", id=one)
    good, bad = find_all(place, RunQuery(limit=9, filter=parse_filter("id > 0")))
    assert (good.id, good.error) == (two, "")
    assert bad.id == one
    assert "cannot be read" in bad.error


def test_pages_go_on_where_they_were_when_runs_come_and_go(place: Place, way: str) -> None:
    """A place in the order is a value and an id, and need not be there any more."""
    runs = [place.add_run(f"run {number}") for number in range(4)]
    for run, number in zip(runs, (4.0, 3.0, 3.0, 1.0), strict=True):
        publish(place, run, Value(kind="final", name="x", number=number))
    query = RunQuery(limit=2, order=parse_order("metrics.x desc"))
    page = place.runs.find_runs(query)
    assert [run.id for run in page.runs] == [runs[0], runs[2]]
    place.sql(f"DELETE FROM {place.runs_table} WHERE id = :id", id=runs[2])
    new = place.add_run("new")
    publish(place, new, Value(kind="final", name="x", number=3.5))
    following = place.runs.find_runs(msgspec.structs.replace(query, after=page.following))
    assert [run.id for run in following.runs] == [runs[1], runs[3]]


def test_only_runs_below_an_id(place: Place, way: str) -> None:
    """`before` goes on working beside a filter."""
    runs = make_runs(place, 9)
    query = RunQuery(limit=50, filter=parse_filter("not status = 'failed'"), before_id=runs[5].id)
    assert [run.id for run in find_all(place, query)] == expected_ids(runs[:5], query)


def test_fields_are_listed_by_how_they_begin(place: Place) -> None:
    """Columns that the table has, then sections; without a dot a section or a name may be meant."""
    runs = make_runs(place, 16)

    def type_of(kind: str, name: str) -> str:
        has_number = any((value := run.values.get((kind, name))) and value.number is not None for run in runs)
        return "number or text" if has_number else "text"

    found = [(field.name, field.type) for field in place.runs.list_fields("", limit=50)]
    columns = FOREIGN_COLUMNS if place.table else COLUMNS
    assert sorted(name for name, _ in found[: len(columns)]) == sorted(columns)
    assert found[len(columns) :] == [
        ("metrics.recall", "number"),
        ("metrics.`val loss`", "number"),
        ("best.`val loss`", "number"),
        (str(Field("params", "`odd` ü")), type_of("param", "`odd` ü")),
        ("params.optimizer", type_of("param", "optimizer")),
        ("tags.team", type_of("tag", "team")),
    ]

    def names(prefix: str, limit: int = 50) -> list[str]:
        return [field.name for field in place.runs.list_fields(prefix, limit=limit)]

    assert names("metrics.r") == ["metrics.recall"]
    assert names("metrics.`val") == names("metrics.val") == ["metrics.`val loss`"]
    assert names("val") == ["metrics.`val loss`", "best.`val loss`"]
    assert names("par") == [str(Field("params", "`odd` ü")), "params.optimizer"]
    assert names("sta") == ["status"]
    assert names("metrics.", limit=1) == ["metrics.recall"]
    assert names("nothing") == names("metrics.\0") == names("tags.\U0010ffff") == []


def test_question_that_takes_too_long_is_stopped(places: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would work on, and no one could stop it; the connection is as good as before then."""
    place = places.make("sqlite", tmp_path)
    make_runs(place, 16)
    monkeypatch.setattr(engine, "_STEPS", 1)
    with waiting_at_most(0.0), pytest.raises(BadRequest, match="takes longer than a request may"):
        find(place, "not params.optimizer LIKE '%a%b%c%'")
    assert len(find(place, "id > 0")) == 16


SEARCHED = {
    "metrics.recall > 0.1": "switchyard_values_number",
    "best.`val loss` in (0.1, 3)": "switchyard_values_number",
    "params.optimizer = 'adam'": "switchyard_values_text",
    "tags.team like 'a%'": "switchyard_values_text",
    "experiment = 'one'": "quick_tests_experiment",
    "name like 'n%'": "quick_tests_name",
    "name in ('a', 'b')": "quick_tests_name",
    "status = 'failed'": "quick_tests_status",
    "created_at > '2026-01-01'": "quick_tests_created_at",
    "duration_s > 60": "quick_tests_duration",
}


@pytest.mark.parametrize("text", SEARCHED)
def test_term_is_looked_up_in_its_index(places: Any, tmp_path: Any, text: str) -> None:
    """SQLite searches it, and walks no table; one over an expression only where the term is written as the index."""
    place = places.make("sqlite", tmp_path)
    term = parse_filter(text)
    assert isinstance(term, Compare)
    query = Conditions(place.ports.database.tables, "sqlite").select_ids(term, limit=9)
    assert query is not None
    with place.ports.database.reader.connect() as connection:
        compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})
        values = tuple(compiled.params[name] for name in compiled.positiontup or ())
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]
    assert any(detail.startswith("SEARCH") and f"INDEX {SEARCHED[text]} " in detail for detail in plan), plan


@pytest.mark.parametrize(
    "field", ["metrics.recall", "params.optimizer", "name", "experiment", "created_at", "duration_s"]
)
def test_order_is_walked_in_its_index(places: Any, tmp_path: Any, field: str) -> None:
    """SQLite sorts nothing: a page is read, and no more."""
    place = places.make("sqlite", tmp_path)
    make_runs(place, 3)
    asked: list[tuple[str, Any]] = []
    event.listen(
        place.ports.database.reader, "before_cursor_execute", lambda *given: asked.append((given[2], given[3]))
    )
    find(place, "", f"{field} desc")
    with place.ports.database.reader.connect() as connection:
        plans = [
            [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in list(asked)
            if "LIMIT" in sql
        ]
    assert plans
    assert not [detail for plan in plans for detail in plan if "TEMP B-TREE" in detail]
