"""The port `Cloud`: one suite that the adapter of each kind passes."""

import re
from collections.abc import Callable

import msgspec
import pytest

from switchyard.clients.google.decommission.access import open_access
from switchyard.clients.google.decommission.opening import open_kinds
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Activity, Kind
from switchyard.core.errors import BadRecord, BadSetup, NotFound, StaleWrite, TryAgain
from tests.clients.google.decommission.cases import (
    Case,
    count_changes,
    describe_or,
    finish,
    is_change,
    seek,
    to_lasting_snapshot,
    to_saved,
    walk,
)
from tests.emulators.faults import Fault
from tests.emulators.google.project import Project, plant_mlflow
from tests.emulators.google.server import serve
from tests.emulators.google.world import find_changed

WHOLE = ("prepare", "stop", "delete", "recover", "start")


def test_find_names_all_that_is_sought_and_nothing_else(project: Project, case: Case, cloud: Cloud) -> None:
    """By name, label or reference, over all pages of all lists; the control is named and left out."""
    found = cloud.find(seek(project))
    assert tuple(resource.name for resource in found.resources) == tuple(sorted(case.found))
    assert all(resource.found_by and resource.kind is case.kind for resource in found.resources)
    assert found.listed > len(found.resources)
    assert found.control
    assert found.places
    assert count_changes(project) == 0


def test_find_refuses_lists_without_the_control(project: Project, case: Case, cloud: Cloud) -> None:
    """An empty list proves nothing where what is known to exist is missing in it too."""
    sought = msgspec.structs.replace(seek(project), controls={case.kind: "never-was"})
    with pytest.raises(BadRecord, match="never-was"):
        cloud.find(sought)


def test_find_refuses_a_list_that_answers_nothing(project: Project, case: Case, cloud: Cloud) -> None:
    """As one of another project, or region, or one without a permission that is not said to be missing."""
    project.world.faults.order(Fault(kind="*.list*", empty=True, times=100))
    project.world.faults.order(Fault(kind="sql.*List*", empty=True, times=100))
    project.policies.policies.clear()
    with pytest.raises(BadRecord, match=r"exists, but is not among|proves nothing"):
        cloud.find(seek(project))


def test_a_list_that_lags_hides_nothing(project: Project, case: Case, cloud: Cloud) -> None:
    """What was just deleted may be listed still: it is shown as there, or asked for by name; never lost."""
    walk(cloud, case.name, "prepare", "stop", "delete")
    project.world.faults.order(Fault(kind="*.list", stale=True, times=100))
    shown = {resource.name for resource in cloud.find(seek(project)).resources}
    assert shown <= set(case.found)
    assert shown >= set(case.found) - {case.name}


def test_a_second_call_changes_nothing(project: Project, case: Case, cloud: Cloud) -> None:
    """Each act again, with the same argument as before: no request that changes anything is sent."""
    saved = cloud.describe(case.name)
    for act in ("prepare", "stop", "start", "stop", "delete", "recover"):
        given = saved if act in ("start", "recover") else describe_or(cloud, case.name, saved)
        assert not finish(cloud, getattr(cloud, act)(given)).problem
        before, changes = project.world.snapshot(), count_changes(project)
        assert not finish(cloud, getattr(cloud, act)(given)).problem
        assert (act, count_changes(project)) == (act, changes)
        assert (act, find_changed(before, project.world.snapshot())) == (act, set())
        if act == "prepare":
            saved = cloud.describe(case.name)


def test_undo_of_a_stop_is_what_was_saved(project: Project, case: Case, cloud: Cloud) -> None:
    """Stopped is read back as stopped, and started again as it was."""
    saved = walk(cloud, case.name, "prepare")
    assert saved.activity is Activity.ACTIVE
    finish(cloud, cloud.stop(saved))
    stopped = describe_or(cloud, case.name, saved)
    if case.kind is Kind.VARIABLE:
        assert stopped is saved
        assert case.name not in [resource.name for resource in cloud.find(seek(project)).resources]
    else:
        assert stopped.activity is (Activity.STOPPED if case.stops else Activity.ACTIVE)
    finish(cloud, cloud.start(saved))
    assert to_saved(cloud.describe(case.name)) == to_saved(saved)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_undo_of_a_delete_is_what_was_saved(project: Project, case: Case, cloud: Cloud, stopped: bool) -> None:
    """It comes back from what Google keeps, or is made again; also where the stopped one was saved."""
    before = walk(cloud, case.name, "prepare")
    saved = before
    if stopped and case.kind is not Kind.VARIABLE:
        finish(cloud, cloud.stop(before))
        saved = cloud.describe(case.name)
    finish(cloud, cloud.delete(saved))
    finish(cloud, cloud.recover(saved))
    assert to_saved(cloud.describe(case.name)) == to_saved(saved)


def test_undo_goes_by_an_inventory_that_is_older_than_the_preparation(case: Case, cloud: Cloud) -> None:
    """Brought back, then started, each twice: all by what was read before anything was touched."""
    inventory = cloud.describe(case.name)
    walk(cloud, case.name, "prepare", "stop", "delete")
    for act in (cloud.recover, cloud.recover, cloud.start, cloud.start):
        assert not finish(cloud, act(inventory)).problem
    after = cloud.describe(case.name)
    assert after.activity is inventory.activity
    assert after.policy.get("bindings", []) == inventory.policy.get("bindings", [])


def test_what_is_deleted_is_gone_from_the_lists(project: Project, case: Case, cloud: Cloud) -> None:
    """By whole lists. A secret waits for its destruction, which is said."""
    walk(cloud, case.name, "prepare", "delete")
    left = [resource for resource in cloud.find(seek(project)).resources if resource.name == case.name]
    assert [resource.activity for resource in left] == ([Activity.DELETED] if case.kind is Kind.SECRET else [])


def test_delete_of_what_is_gone_asks_for_nothing(project: Project, case: Case, cloud: Cloud) -> None:
    """It is deleted; that holds where someone else did it, too."""
    saved = walk(cloud, case.name, "prepare", "delete")
    changes = count_changes(project)
    assert finish(cloud, cloud.delete(saved)).done
    assert count_changes(project) == changes


def test_what_changed_since_is_left_alone(project: Project, case: Case, cloud: Cloud) -> None:
    """StaleWrite names it, for each act that would change it."""
    saved = cloud.describe(case.name)
    case.touch(project)
    before = project.world.snapshot()
    acts = ["delete", *(["stop"] if case.stops else []), *(["prepare"] if case.prepares else [])]
    for act in acts:
        with pytest.raises(StaleWrite, match=re.escape(case.name.split("#")[0])):
            getattr(cloud, act)(saved)
    assert find_changed(before, project.world.snapshot()) == set()


def test_a_namesake_is_left_alone(project: Project, case: Case, cloud: Cloud) -> None:
    """Another one of the same name is never stopped, started, deleted, or taken for what was recovered."""
    saved = walk(cloud, case.name, "prepare")
    case.replace(project)
    before = project.world.snapshot()
    acts = ["delete", "recover", *(["stop", "start", "prepare"] if case.stops else [])]
    for act in acts:
        with pytest.raises(StaleWrite):
            finish(cloud, getattr(cloud, act)(saved))
    assert find_changed(before, project.world.snapshot()) == set()


def test_only_the_named_resource_changes(project: Project, case: Case, cloud: Cloud) -> None:
    """A walk from preparation to recovery, compared whole."""
    before = project.world.snapshot()
    walk(cloud, case.name, *WHOLE)
    changed = find_changed(before, project.world.snapshot())
    assert [name for name in changed if not any(re.fullmatch(own, name) for own in case.own)] == []


def test_each_missing_permission_is_named_before_and_at_the_act(case: Case) -> None:
    """`list_missing_permissions` knows all that the acts then ask for; an act without one is BadSetup, never "gone"."""
    project = plant_mlflow()
    with serve(project.world) as url:
        cloud = _open(case.kind, url)
        resource = cloud.describe(case.name)
        assert cloud.list_missing_permissions(resource) == ()
        needed = _find_needed(project, cloud, case)
    assert needed
    for permission in needed:
        project = plant_mlflow()
        with serve(project.world) as url:
            cloud = _open(case.kind, url)
            resource = cloud.describe(case.name)
            project.world.denied = {permission}
            assert cloud.list_missing_permissions(resource) == (permission,)
            with pytest.raises(BadSetup, match=re.escape(permission)):
                _walk_all(project, cloud, case)


def _open(kind: Kind, url: str) -> Cloud:
    return open_kinds("acme-ml", open_access(endpoint=url), kinds=[kind], pause=lambda _: None)[kind]


def _find_needed(project: Project, cloud: Cloud, case: Case) -> list[str]:
    """The permissions that the endpoint asked for in a whole walk."""
    asked: set[str] = set()
    check = project.world.check_allowed

    def note(permission: str, resource: str, api: str) -> None:
        if permission and not permission.startswith("resourcemanager.projects.get"):
            asked.add(permission)
        check(permission, resource, api)

    project.world.check_allowed = note  # type: ignore[method-assign]
    _walk_all(project, cloud, case)
    if case.kind is Kind.BINDING:  # it looks through everything, to find; what it acts with is the policy's own
        return ["resourcemanager.projects.setIamPolicy"]
    return sorted(asked)


def _walk_all(project: Project, cloud: Cloud, case: Case) -> None:
    if case.kind is not Kind.BINDING:
        sought = msgspec.structs.replace(seek(project), labels={}, references=())
        names = {**sought.names, Kind.SQL_INSTANCE: ("mlflow-db",), Kind.BUCKET: ("acme-mlflow",)}
        cloud.find(msgspec.structs.replace(sought, names=names))
    walk(cloud, case.name, "prepare", "stop", "start")
    walk(cloud, case.name, "delete", "recover")


def test_a_lost_reply_at_each_act_ends_as_without(case: Case) -> None:
    """The effect is there, and no one heard of it. The same call again ends the same, and does nothing twice."""
    acts, expected = _record(case)
    assert acts
    for method_id, number in acts:
        fault = Fault(kind=method_id, nth=number, broken=True, after=True)
        assert (method_id, number, _walk_with(case, fault)) == (method_id, number, expected)


@pytest.mark.parametrize("status", [429, 503])
def test_a_fault_that_passes_ends_as_without(case: Case, status: int) -> None:
    """Before the effect, at each sort of act."""
    acts, expected = _record(case)
    for method_id in dict(acts):
        assert (method_id, _walk_with(case, Fault(kind=method_id, status=status))) == (method_id, expected)


def test_a_refusal_at_each_act_says_what_is_missing(case: Case) -> None:
    """A 403 that names no permission: BadSetup names ours; nothing is taken for done."""
    acts, _ = _record(case)
    for method_id in dict(acts):
        with pytest.raises(BadSetup, match=r"the permission [a-z]+\.[A-Za-z.]+ is missing"):
            _walk_with(case, Fault(kind=method_id, status=403, times=100))


def test_a_404_at_each_act_is_not_taken_for_done(case: Case) -> None:
    """Of what was there a moment ago: it is looked at again, or the walk stops; what is there is never left behind."""
    acts, expected = _record(case)
    for method_id in dict(acts):
        try:
            assert (method_id, _walk_with(case, Fault(kind=method_id, status=404))) == (method_id, expected)
        except (NotFound, StaleWrite):
            # Told to the caller. Only a bucket's deletion ends so: an object is left, and the bucket is not empty.
            assert method_id.split(".")[-1] != "delete" or method_id == "storage.objects.delete"


def test_a_conflict_at_each_act_is_said(case: Case) -> None:
    """A 409 that stays: StaleWrite or TryAgain, never "done"."""
    acts, _ = _record(case)
    for method_id in dict(acts):
        with pytest.raises((StaleWrite, TryAgain)):
            _walk_with(case, Fault(kind=method_id, status=409, times=100))


@pytest.mark.parametrize(
    "case", [pytest.param(Kind.RUN_SERVICE, marks=pytest.mark.needs_google_run), Kind.SQL_INSTANCE, Kind.VARIABLE]
)
def test_an_operation_that_ends_in_error_is_said_and_can_be_repeated(
    project: Project, case: Kind, open_cloud: Callable[[Kind], Cloud]
) -> None:
    """Done is not done well: the problem is told, nothing was stopped, and the next call begins again."""
    from tests.clients.google.decommission.cases import CASES

    found = next(one for one in CASES if one.kind is case)
    cloud = open_cloud(case)
    saved = walk(cloud, found.name, "prepare")
    project.world.faults.order(Fault(kind="*.patch", error="the machine is on fire"))
    progress = finish(cloud, cloud.stop(saved))
    assert progress.done
    assert "the machine is on fire" in progress.problem
    assert cloud.describe(found.name).activity is Activity.ACTIVE
    assert not finish(cloud, cloud.stop(cloud.describe(found.name))).problem


def _walk_with(case: Case, fault: Fault) -> list[str]:
    """How a whole walk ends with that fault."""
    project = plant_mlflow()
    project.world.faults.order(fault)
    with serve(project.world) as url:
        walk(_open(case.kind, url), case.name, *WHOLE)
    return to_lasting_snapshot(project)


def _record(case: Case) -> tuple[list[tuple[str, int]], list[str]]:
    """The requests of a whole walk that change something, each by its method and its number; and how it ends."""
    project = plant_mlflow()
    with serve(project.world) as url:
        cloud = _open(case.kind, url)
        walk(cloud, case.name, *WHOLE)
    seen: dict[str, int] = {}
    acts = []
    for call in project.world.log:
        seen[call.method.id] = seen.get(call.method.id, 0) + 1
        if is_change(call.method):
            acts.append((call.method.id, seen[call.method.id]))
    return acts, to_lasting_snapshot(project)
