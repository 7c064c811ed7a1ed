"""Folders of MLflow's with files that are odd, half-written or damaged: each is its run's trouble alone."""

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.file_store.metric_files import read_points
from switchyard.clients.mlflow.file_store.tracking import FolderTracking
from switchyard.clients.mlflow.file_store.yaml_files import read_mapping
from switchyard.clients.objects.open import open_objects
from switchyard.clients.settings import read_settings
from switchyard.core.backfill.plan import choose_adopted
from switchyard.core.errors import BadRecord, BadSetup, NotFound, TryAgain
from switchyard.core.mlflow.raw_run import LostRun, OwnedPoint, RawRun, to_points
from switchyard.core.ports import ANY
from tests.clients.mlflow.folders import write_folder
from tests.core.mlflow.factories import make_info, make_points, make_small

A, B, C = "a" * 32, "b" * 32, "c" * 32
EXPERIMENT = "4"


def make_folder(root: Path, *ids: str) -> Path:
    """A folder of runs of two metrics, a param and a tag each."""
    metrics = {"loss": make_points((0, 3.0), (1, 2.0)), "eval/rmse": make_points((0, 1.5))}
    runs = [make_small(metrics, info=make_info(run_id=run_id)) for run_id in ids or (A, B)]
    write_folder(root.as_uri(), runs)
    for run_id in ids or (A, B):
        (root / EXPERIMENT / run_id / "params").mkdir()
        (root / EXPERIMENT / run_id / "params" / "depth").write_text("3")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mlruns")


def open_folder(root: Path | str) -> FolderTracking:
    found = Outside(read_settings({"MLFLOW_TRACKING_URI": str(root)})).tracking
    assert isinstance(found, FolderTracking)
    return found


def read(root: Path, *ids: str) -> tuple[dict[str, RawRun], dict[str, str]]:
    """The runs that can be read, and what is said of the others."""
    tracking = open_folder(root)
    found = list(tracking.read_runs(ids or (A, B)))
    tracking.close()
    runs = {run.info.run_id: run for run in found if isinstance(run, RawRun)}
    return runs, {run.run_id: str(run.error) for run in found if isinstance(run, LostRun)}


def metric(root: Path, key: str = "loss", run_id: str = A) -> Path:
    return root / EXPERIMENT / run_id / "metrics" / key


def meta(root: Path, run_id: str = A) -> Path:
    return root / EXPERIMENT / run_id / "meta.yaml"


LINES: list[tuple[bytes, list[tuple[int, int, float]]]] = [
    (b"5 1.5 0\n", [(0, 5, 1.5)]),
    (b"5 1.5\n6 1.25\n", [(0, 5, 1.5), (0, 6, 1.25)]),  # before MLflow 1.0: no steps
    (b"5 1.5 0\r\n6 1.25 1\r\n", [(0, 5, 1.5), (1, 6, 1.25)]),
    (b"\xef\xbb\xbf5 1.5 0\n", [(0, 5, 1.5)]),
    (b"5 nan 0\n5 NaN 0\n6 inf 1\n7 -Infinity 2\n", [(0, 5, math.nan), (1, 6, math.inf), (2, 7, -math.inf)]),
    (b"5 1e309 0\n6 -1e309 1\n", [(0, 5, math.inf), (1, 6, -math.inf)]),
    (b"5 1.7976931348623157e308 0\n", [(0, 5, math.inf)]),  # as of a database, where it cannot be told apart
    (b"5 " + b"9" * 100 + b" 0\n", [(0, 5, float("9" * 100))]),
    (b"5 -0.0 -3\n5 5e-324 0\n", [(-3, 5, -0.0), (0, 5, 5e-324)]),
    (b"6 2.0 1\n5 1.5 0\n6 2.0 1\n5 1.0 0\n", [(0, 5, 1.0), (0, 5, 1.5), (1, 6, 2.0)]),  # the same point twice is one
]


@pytest.mark.parametrize(("data", "rows"), LINES)
def test_lines_are_read_as_a_database_has_them(data: bytes, rows: list[tuple[int, int, float]]) -> None:
    """Every form that MLflow has written, and what editors make of it."""
    expected = to_points([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    found, owned = read_points(data, "loss", "a file")
    assert repr(found) == repr(expected)  # NaN, and the sign of zero
    assert owned == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it has no point"),
        (b"5 1.5 0\n6 1.2", "line 2: it must end with a line break"),
        (b"5 1.5 0\n6 1.25 1", "line 2: it must end with a line break"),  # perhaps of step 10
        (b"5 1.5 0\n61.25 1\n", "line 2: .*could not convert|line 2: .*invalid literal"),
        (b"5 1.5 0\n\n6 1.25 1\n", "line 2: .*1 columns"),
        (b"5 1.5 0\n6 1.257 1.0 2\n", "line 2: .*4 columns"),  # two lines, the first of which was cut
        (b"5 1.5 0.5\n", "line 1: .*invalid literal"),
        (b"5 loss 0\n", "line 1: .*could not convert"),
        (b"5 1.5 0\n6 1.5 " + b"1" * 100 + b"\n", "line 2: .*more than 64 bits"),
        (b"9" * 20 + b" 1.5 0\n", "line 1: .*more than 64 bits"),
        (b"5 1.5 " + b"1" * 5_000 + b"\n", r"line 1: it must be .*\.\.\."),
        (b"5 1.5 0\n\xff\xfe 1.5 0\n", "line 2: it must be text in UTF-8"),
        (b"\x00\x05\x16\x07", "line 1: it must end with a line break"),
        (b"5 1.5 0 holdout\n", "line 1: .*4 columns"),
    ],
)
def test_line_that_is_damaged_is_named(data: bytes, said: str) -> None:
    """No value is guessed of a number that may be cut."""
    with pytest.raises(BadRecord, match=f"a file: {said}") as raised:
        read_points(data, "loss", "a file")
    assert len(str(raised.value)) < 400


def test_data_set_of_a_point_is_known() -> None:
    """MLflow 3 writes its name and digest behind the step; a name may have spaces."""
    points, owned = read_points(b"5 1.5 0 the hold out 8f2a\n5 2.5 0\n", "rmse", "a file")
    assert points.values == [1.5, 2.5]
    assert owned == [OwnedPoint("rmse", 0, 5, 1.5, dataset="the hold out")]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("status: 3\n\trun_id: a\n", "line 2: it must be YAML"),
        ("status: [3\n", "it must be YAML"),
        ("- a\n- b\n", "it must have keys and values; it is a list"),
        ("just words", "it must have keys and values; it is a str"),
        ("a: !!python/object/apply:os.system [exit 1]\n", "it must be YAML"),
        ("a: 2023-99-99\n", "it must be YAML"),
        ("a: 1\n---\nb: 2\n", "it must be YAML"),
        ("a: b\x00c\n", "it must be YAML"),
        (BOMB, r"it has an alias \(\*a\)"),
        ("a: " + "[" * 30, "nested more than 20 deep"),
        ("a: " + "[" * 100_000, "exceeded maximum nesting depth"),
        ("a: " + "1" * 10_000 + "\n", "it must be YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_yaml_that_is_not_mlflow_s_is_refused(text: str, said: str) -> None:
    """It is refused at once, whatever it would grow to."""
    with pytest.raises(BadRecord, match=f"meta.yaml: .*{said}"):
        read_mapping(text.encode(), "meta.yaml")


def _lose_line(root: Path) -> None:
    with metric(root).open("ab") as file:
        file.write(b"1690000002000 0.12")


def _empty_meta(root: Path) -> None:
    meta(root).write_bytes(b"")


def _huge_meta(root: Path) -> None:
    with meta(root).open("ab") as file:
        file.truncate(1 << 30)


def _other_id(root: Path) -> None:
    meta(root).write_text(meta(root).read_text().replace(A, C))


def _other_experiment(root: Path) -> None:
    meta(root).write_text(meta(root).read_text().replace("experiment_id: '4'", "experiment_id: '5'"))


def _odd_values(root: Path) -> None:
    text = meta(root).read_text().replace("status: 3", "status: 9").replace("start_time: 1", "start_time: x1")
    meta(root).write_text(text.replace("stage: active", "stage: gone"))


def _binary_param(root: Path) -> None:
    (root / EXPERIMENT / A / "params" / "depth").write_bytes(b"\xff\xfe")


def _binary_names(root: Path) -> None:
    metric(root).rename(metric(root, os.fsdecode(b"l\xff")))


def _linked_file(root: Path) -> None:
    outside = root.parent / "secret"
    outside.write_text("s3cret")
    (root / EXPERIMENT / A / "params" / "key").symlink_to(outside)


def _linked_folder(root: Path) -> None:
    shutil.move(root / EXPERIMENT / A / "params", root.parent / "elsewhere")
    (root / EXPERIMENT / A / "params").symlink_to(root.parent / "elsewhere")


def _linked_meta(root: Path) -> None:
    shutil.move(meta(root), root.parent / "meta.yaml")
    meta(root).symlink_to(root.parent / "meta.yaml")


def _pipe(root: Path) -> None:
    os.mkfifo(metric(root, "pipe"))


def _two_files(root: Path) -> None:
    metric(root).write_bytes(b"x\n")
    metric(root, "eval/rmse").write_bytes(b"")


ODD: list[tuple[Callable[[Path], None], str]] = [
    (_lose_line, f"4/{A}/metrics/loss: line 3: it must end with a line break; a writer was killed, or is at work"),
    (_empty_meta, f"4/{A}/meta.yaml: it is empty"),
    (lambda root: meta(root).unlink(), f"4/{A}/meta.yaml: it is missing"),
    (_huge_meta, f"4/{A}/meta.yaml: expected at most 1,048,576 bytes"),
    (_other_id, f"`run_id` must be its folder's name, {A}; got '{C}'"),
    (_other_experiment, "`experiment_id` must be that of the folder it lies in, 4; got '5'"),
    (_odd_values, "`status` must be one of 1 .*; got '9'; `lifecycle_stage` must be .*'gone'; `start_time` must be"),
    (_binary_param, "params/depth: it must be text in UTF-8; byte 0"),
    (_binary_names, "metrics/l%FF: its name must be UTF-8"),
    (_linked_file, "params/key: it is a link"),
    (_linked_folder, "params: it is a link"),
    (_linked_meta, "meta.yaml: it is a link"),
    (_pipe, "metrics/pipe: it is a link, or no regular file"),
    (_two_files, "metrics/eval/rmse: it has no point.*metrics/loss: line 1"),
]


@pytest.mark.parametrize(("damage", "said"), ODD, ids=[said[-40:] for _, said in ODD])
def test_damaged_file_fails_its_run_alone(root: Path, damage: Callable[[Path], None], said: str) -> None:
    """By file and line. The list has it all the same, so that no one takes what is read for the whole."""
    damage(root)
    runs, lost = read(root)
    assert set(runs) == {B}
    assert set(lost) == {A}
    found = open_folder(root)
    assert sorted(run.run_id for run in found.list_runs()) == [A, B]
    assert {look.info.run_id: look.shows for look in found.look_at_runs([A, B])} == {A: "values", B: "curves"}
    assert re.search(said, lost[A]), lost[A]
    assert "s3cret" not in lost[A]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (f"{EXPERIMENT}/{A}/meta.yaml", b""),
        (f"{EXPERIMENT}/{A}/meta.yaml", b"artifact_uri: 'file:///"),
        (f"{EXPERIMENT}/{A}/meta.yaml", None),  # its folder is there already
        (f"{EXPERIMENT}/meta.yaml", b""),
        (f"{EXPERIMENT}/{A}/metrics/loss", b""),
        (f"{EXPERIMENT}/{A}/metrics/loss", b"5 1.5"),
    ],
)
@pytest.mark.parametrize("ask", ["list", "marks", "take", "look", "read"])
def test_file_that_is_just_being_written_is_read_again(
    root: Path, name: str, first: bytes | None, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow empties a file before it fills it: what a moment shows is not yet wrong with the run."""
    tracking = open_folder(root)
    objects: Any = tracking._objects
    true_read = objects.read
    told: list[str] = []

    def read_once(uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        found: tuple[bytes, int] = true_read(uri, max_bytes=max_bytes)
        if told or not uri.endswith(name):
            return found
        told.append(uri)
        if first is None:
            raise NotFound(uri)
        return first, found[1]

    monkeypatch.setattr(objects, "read", read_once)
    if ask == "list":
        assert {run.run_id: run.status for run in tracking.list_runs()} == {A: "FINISHED", B: "FINISHED"}
    elif ask == "marks":
        assert {mark.run_id: mark.error for mark in tracking.read_marks()} == {A: "", B: ""}
    elif ask == "take":
        assert set(tracking.take_marks([A, B])) == {A, B}
    elif ask == "look":
        looks = {look.info.run_id: (look.info.status, look.shows) for look in tracking.look_at_runs([A, B])}
        assert looks == {A: ("FINISHED", "curves"), B: ("FINISHED", "curves")}
    else:
        found = list(tracking.read_runs([A, B]))
        assert sorted(run.info.run_id for run in found if isinstance(run, RawRun)) == [A, B]
    assert told or (ask not in ("read", "look") and "metrics" in name)


@pytest.mark.parametrize("kind", ["params", "tags"])
def test_text_that_is_just_being_written_is_read_again(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty for a moment is not the value; one that stays empty is. All runs of a batch are waited for at once."""
    for run_id in (A, B):
        (root / EXPERIMENT / run_id / kind / "note").parent.mkdir(exist_ok=True)
        (root / EXPERIMENT / run_id / kind / "note").write_text("")
    waited: list[float] = []

    def fill(seconds: float) -> None:
        waited.append(seconds)
        (root / EXPERIMENT / A / kind / "note").write_text("warm")

    monkeypatch.setattr(time, "sleep", fill)
    runs, lost = read(root)
    assert {run_id: getattr(run, kind)["note"] for run_id, run in runs.items()} == {A: "warm", B: ""}
    assert (lost, len(waited)) == ({}, 1)


def test_run_that_cannot_be_opened_is_lost_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may read everything: the refusal is put in the place of the call's own."""
    tracking = open_folder(root)
    objects: Any = tracking._objects
    true_read = objects.read

    def refuse(uri: str, *, max_bytes: int | None = None) -> tuple[bytes, int]:
        if A in uri and uri.endswith("loss"):
            raise BadSetup(f"could not read {uri}: Permission denied")
        found: tuple[bytes, int] = true_read(uri, max_bytes=max_bytes)
        return found

    monkeypatch.setattr(objects, "read", refuse)
    lost, found = tracking.read_runs([A, B])
    assert isinstance(lost, LostRun)
    assert "Permission denied" in str(lost.error)
    assert isinstance(found, RawRun)


def test_store_that_goes_away_ends_the_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs are not lost one after the other."""
    tracking = open_folder(root)
    objects: Any = tracking._objects
    runs: Iterator[Any] = iter(tracking.read_runs([A, B]))
    next(runs)

    def fail(*_: Any, **__: Any) -> Any:
        raise TryAgain("the disk is away")

    for name in ("read", "list", "list_folders"):
        monkeypatch.setattr(objects, name, fail)
    with pytest.raises(TryAgain, match="the disk is away"):
        next(runs)


def test_run_in_two_experiments_is_the_one_that_names_its_own(root: Path) -> None:
    """MLflow ignores a copy that says it is elsewhere. Of two that both say they are at home none is read."""
    other = root / "7"
    other.mkdir()
    (other / "meta.yaml").write_text((root / EXPERIMENT / "meta.yaml").read_text().replace("'4'", "'7'"))
    shutil.copytree(root / EXPERIMENT / A, other / A)
    runs, lost = read(root)
    assert (set(runs), lost) == ({A, B}, {})
    assert runs[A].info.experiment_id == "4"
    assert sorted(run.run_id for run in open_folder(root).list_runs()) == [A, B]
    (other / A / "meta.yaml").write_text(meta(root).read_text().replace("'4'", "'7'"))
    runs, lost = read(root)
    assert set(runs) == {B}
    assert "it must be in one experiment; it is at" in lost[A]
    assert sorted(run.run_id for run in open_folder(root).list_runs()) == [A, B]


def test_artifacts_that_lie_within_the_store_are_no_second_run(root: Path) -> None:
    """An experiment's artifact_location may be any folder in mlruns: it has a folder for each run, and no meta.yaml."""
    for name in ("artifacts", ".trash/old"):
        for run_id in (A, B, C):
            (root / name / run_id / "artifacts").mkdir(parents=True)
    runs, lost = read(root)
    assert (set(runs), lost) == ({A, B}, {})
    assert runs[A].info.experiment_id == EXPERIMENT
    found = {run.run_id: run.status for run in open_folder(root).list_runs()}
    assert found.keys() == {A, B}
    assert not any("unreadable" in status for status in found.values())
    meta(root).write_text("")
    assert "meta.yaml" in read(root)[1][A]


def test_what_is_no_run_is_none(root: Path) -> None:
    """The registry, data sets, traces, logged models, an editor's folders, files that lie about."""
    for name in ("models/a/version-1", "4/datasets/x", "4/traces/y", "4/tags", "4/models/m-1/metrics", ".trash"):
        (root / name).mkdir(parents=True)
    for odd in (root / os.fsdecode(b"l\xff"), root / EXPERIMENT / os.fsdecode(b"l\xff")):
        odd.mkdir()
    for name in ("models/a/meta.yaml", "4/datasets/x/meta.yaml", "4/notes.txt", "4/.ipynb_checkpoints/a", "tmp/x/y"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a: b")
    assert sorted(run.run_id for run in open_folder(root).list_runs()) == [A, B]
    runs, lost = read(root, A, B, "../../etc", "models", ".ipynb_checkpoints")
    assert set(runs) == {A, B}
    assert all("has no run" in said for said in lost.values())


def test_runs_of_an_experiment_without_its_file_are_listed_and_lost(root: Path) -> None:
    """Its name is not known, and no filter finds it; the message says what is damaged."""
    (root / EXPERIMENT / "meta.yaml").write_text("name: [")
    make_folder(root / "aside", C)
    shutil.move(root / "aside" / EXPERIMENT, root / "7")
    for path in (root / "7" / "meta.yaml", root / "7" / C / "meta.yaml"):
        path.write_text(path.read_text().replace("'4'", "'7'").replace("two-tower", "other"))
    shutil.rmtree(root / "aside")
    found = {run.run_id: run.experiment for run in open_folder(root).list_runs()}
    assert found == {A: "", B: "", C: "other"}
    runs, lost = read(root, A, B, C)
    assert set(runs) == {C}
    assert "4/meta.yaml: " in lost[A]
    adoption = choose_adopted(open_folder(root).list_runs(), set())
    assert [run.mlflow_run_id for run in adoption.runs] == [C]
    assert all(
        run.why_not.startswith("it cannot be read: ") and "4/meta.yaml: " in run.why_not for run in adoption.left_out
    )
    assert {run.mlflow_run_id for run in adoption.left_out} == {A, B}
    with pytest.raises(NotFound, match=r"no experiment named 'two-tower'; of these the name cannot be read: .*4/meta"):
        list(open_folder(root).list_runs(experiments=["two-tower"]))


def test_keys_that_are_folders_too_are_read_in_a_bucket(gcs_root: str) -> None:
    """On a disk a file cannot be a folder; a name of two points is refused in both."""
    run = make_small({"loss": make_points((0, 3.0)), "loss/a": make_points((0, 2.0))}, info=make_info(run_id=A))
    folder = write_folder(gcs_root, [run])[A]
    (found,) = open_folder(gcs_root).read_runs([A])
    assert isinstance(found, RawRun)
    assert found.metrics == run.metrics
    open_objects(gcs_root).write(f"{folder}metrics/../../x", b"1 2 3\n", if_generation=ANY)
    (lost,) = open_folder(gcs_root).read_runs([A])
    assert isinstance(lost, LostRun)
    assert "is no name that MLflow gives" in str(lost.error)


def test_points_of_logged_models_are_told_from_the_runs_own(root: Path) -> None:
    """MLflow 3 writes them to the model's folder, and to the run's without a word of the model."""
    metrics = root / EXPERIMENT / "models" / "m-1" / "metrics"
    metrics.mkdir(parents=True)
    (metrics / "loss").write_text(f"1690000001000 2.0 1 {A} holdout 8f2a\n1690000001000 2.0 1 {C}\n")
    metric(root).write_text("1690000000000 3.0 0\n1690000001000 2.0 1 holdout 8f2a\n1690000001500 9.0 1 train 11\n")
    runs, lost = read(root)
    assert not lost
    assert list(runs[A].owned) == [
        OwnedPoint("loss", 1, 1690000001000, 2.0, "m-1", "holdout"),
        OwnedPoint("loss", 1, 1690000001500, 9.0, "", "train"),
    ]
    assert list(runs[B].owned) == []
    (metrics.parent / "meta.yaml").write_text(f"model_id: m-1\nsource_run_id: {A}\n")
    (metrics / "loss").write_text("1690000001000 2.0 1\n")
    runs, lost = read(root)
    assert set(runs) == {B}
    assert "models/m-1/metrics/loss: line 1" in lost[A]


def test_run_that_is_deleted_is_read_and_marked(root: Path) -> None:
    """Alone, by its own file; with its experiment, in `.trash`, whatever that experiment's file says."""
    meta(root).write_text(meta(root).read_text().replace("stage: active", "stage: deleted"))
    runs, _ = read(root)
    assert (runs[A].info.lifecycle, runs[A].info.experiment_lifecycle) == ("deleted", "active")
    (root / ".trash").mkdir()
    shutil.move(root / EXPERIMENT, root / ".trash" / EXPERIMENT)
    runs, _ = read(root)
    assert {run.info.experiment_lifecycle for run in runs.values()} == {"deleted"}


def test_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """With what was looked for; nothing is made there, as MLflow itself would."""
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none", "empty/x"):
        with pytest.raises(BadSetup, match=r"is no folder of MLflow's \(mlruns\): no <experiment>/meta.yaml"):
            list(open_folder(tmp_path / name).list_runs())
    with pytest.raises(BadSetup, match="no folder of MLflow's"):
        open_folder(tmp_path / "empty").describe()
    with pytest.raises(BadSetup, match="no folder of MLflow's"):
        list(open_folder(tmp_path / "empty").read_runs([A]))
    make_folder(tmp_path / "project" / "mlruns")
    with pytest.raises(BadSetup, match=r"Is it file://.*/project/mlruns/\?"):
        list(open_folder(tmp_path / "project").list_runs())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "project"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_reading_writes_nothing(root: Path) -> None:
    """MLflow's own store makes folders when it is opened."""
    before = sorted(map(str, root.rglob("*")))
    read(root)
    list(open_folder(root).list_runs())
    assert sorted(map(str, root.rglob("*"))) == before


@pytest.mark.parametrize("form", ["{0}", "{0}/", "file://{0}", "file:{0}", "mlruns", "x/../mlruns", "file:mlruns"])
def test_folder_is_named_as_mlflow_takes_it(root: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one from the working directory."""
    monkeypatch.chdir(root.parent)
    assert len(list(open_folder(form.format(root)).list_runs())) == 2


def test_folder_may_have_any_name(tmp_path: Path) -> None:
    """Spaces, per cent signs, other scripts."""
    root = make_folder(tmp_path / "my %41 данные #1?")
    assert len(list(open_folder(str(root)).list_runs())) == 2
    assert len(list(open_folder(root.as_uri()).list_runs())) == 2


def test_runs_of_an_experiment_without_its_file_are_damaged_and_not_gone(root: Path) -> None:
    """Else a follow of this folder would take them for deleted."""
    (root / "9").mkdir()
    (root / EXPERIMENT / "meta.yaml").rename(root / "9" / "meta.yaml")
    tracking = open_folder(root)
    found = list(tracking.read_runs([A]))
    tracking.close()
    assert [type(run.error) for run in found if isinstance(run, LostRun)] == [BadRecord]
    assert "it is missing, and there are runs below it" in str(found)


def test_metric_file_that_is_too_large_is_its_runs_trouble(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is asked first: it would not fit in memory."""
    monkeypatch.setattr("switchyard.clients.mlflow.file_store.tracking._MAX_METRIC_BYTES", 100)
    file = root / EXPERIMENT / A / "metrics" / "loss"
    file.write_text(file.read_text() * 20)
    runs, lost = read(root)
    assert list(runs) == [B]
    assert "at most 100 bytes" in lost[A]
