"""What each kind of resource has of its own: the traps, one by one."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from switchyard.clients.google.decommission.cloud_sql import PREPARED_BY
from switchyard.core.decommission.cloud import Cloud
from switchyard.core.decommission.resources import Activity, Kind
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, TryAgain
from tests.clients.google.decommission.cases import (
    ACCOUNT,
    API,
    BUCKET,
    INSTANCE,
    MEMBER,
    MLFLOW,
    SECRET,
    TRAIN,
    finish,
    insist,
    is_change,
    seek,
    to_saved,
    walk,
)
from tests.emulators.faults import Fault
from tests.emulators.google.project import EMAIL, REGION, Project

Opening = Callable[[Kind], Cloud]


def list_backups(project: Project) -> list[tuple[str, str]]:
    """Type and state of the backups of MLflow's database."""
    return sorted((b["type"], b["state"]) for b in project.sql.backups.values() if b["instance"] == "mlflow-db")


# Cloud SQL.


def test_an_instance_that_was_not_prepared_is_not_deleted(project: Project, open_cloud: Opening) -> None:
    """Its backups would go with it."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    with pytest.raises(BadRequest, match="would take its backups with it"):
        cloud.delete(cloud.describe(INSTANCE))
    project.sql.instances["mlflow-db"]["settings"].update(
        retainBackupsOnDelete=True, finalBackupConfig={"enabled": True, "retentionDays": 30}
    )
    with pytest.raises(BadRequest, match="no backup of ours that is SUCCESSFUL"):
        cloud.delete(cloud.describe(INSTANCE))
    assert list_backups(project) == [("AUTOMATED", "SUCCESSFUL")]


def test_an_instance_says_its_databases_while_it_runs(project: Project, open_cloud: Opening) -> None:
    """Then not any more, and after an undo again; a permission that is missing is no silence."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    project.sql.plant_database("mlflow-db", "shop")
    assert cloud.describe(INSTANCE).parts["databases"] == ["mlflow", "postgres", "shop"]
    saved = walk(cloud, INSTANCE, "prepare", "stop")
    assert "databases" not in cloud.describe(INSTANCE).parts
    finish(cloud, insist(lambda: cloud.delete(cloud.describe(INSTANCE))))
    finish(cloud, insist(lambda: cloud.recover(saved)))
    assert cloud.describe(INSTANCE).parts["databases"] == ["mlflow", "postgres", "shop"]
    assert cloud.list_missing_permissions(saved) == ()
    project.world.denied = {"cloudsql.databases.list"}
    assert cloud.list_missing_permissions(saved) == ("cloudsql.databases.list",)
    with pytest.raises(BadSetup, match=r"cloudsql\.databases\.list"):
        cloud.describe(INSTANCE)


def test_a_replica_and_an_instance_that_starts_are_not_asked_for_databases(
    project: Project, open_cloud: Opening
) -> None:
    """A replica has its primary's; one that starts refuses."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    project.sql.instances["mlflow-db"]["masterInstanceName"] = "acme-ml:other"
    assert "databases" not in cloud.describe(INSTANCE).parts
    project.sql.instances["mlflow-db"].pop("masterInstanceName")
    said = "Invalid request: Invalid request since instance is not running."
    project.world.faults.order(Fault(kind="sql.databases.list", status=400, message=said))
    assert "databases" not in cloud.describe(INSTANCE).parts


def test_backups_outlive_the_instance(project: Project, open_cloud: Opening) -> None:
    """All that there were, the one of the preparation, and the final one with its end."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    saved = walk(cloud, INSTANCE, "prepare", "stop", "delete")
    assert list_backups(project) == [("AUTOMATED", "SUCCESSFUL"), ("FINAL", "SUCCESSFUL"), ("ON_DEMAND", "SUCCESSFUL")]
    kept = {one.what.split(" ")[0]: one for one in cloud.list_kept(saved)}
    assert set(kept) == {"automated", "final", "on-demand"}
    until = kept["final"].until
    assert until is not None
    assert timedelta(days=29) < until - project.world.now <= timedelta(days=30)
    deletes = [call for call in project.world.log if call.method.id == "sql.instances.delete"]
    assert [call.one("enableFinalBackup") for call in deletes] == ["true"]


@pytest.mark.parametrize(("settings", "days"), [
    ({"retainBackupsOnDelete": True, "finalBackupConfig": {"enabled": True, "retentionDays": 365}}, 365),
    ({"finalBackupConfig": {"enabled": False, "retentionDays": 90}}, 90),
    ({"retainBackupsOnDelete": True, "finalBackupConfig": {"enabled": True, "retentionDays": 7}}, 30),
])  # fmt: skip
def test_a_final_backup_is_kept_as_long_as_the_instance_asks(
    project: Project, open_cloud: Opening, settings: dict[str, Any], days: int
) -> None:
    """And 30 days at least; neither the preparation nor the deletion shortens it."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    project.sql.instances["mlflow-db"]["settings"] |= settings
    saved = walk(cloud, INSTANCE, "prepare", "delete")
    until = next(one.until for one in cloud.list_kept(saved) if one.what.startswith("final"))
    assert until is not None
    assert timedelta(days=days - 1) < until - project.world.now <= timedelta(days=days)


def test_a_failed_backup_is_no_backup(project: Project, open_cloud: Opening) -> None:
    """A second preparation makes another; the deletion asks for one that is SUCCESSFUL."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    walk(cloud, INSTANCE, "prepare")
    mine = next(b for b in project.sql.backups.values() if b.get("description", "").startswith(PREPARED_BY))
    mine["state"] = "FAILED"
    with pytest.raises(BadRequest, match="SUCCESSFUL"):
        cloud.delete(cloud.describe(INSTANCE))
    walk(cloud, INSTANCE, "prepare")
    assert list_backups(project).count(("ON_DEMAND", "SUCCESSFUL")) == 1


def test_a_backup_of_an_earlier_walk_is_not_taken_for_one_of_now(project: Project, open_cloud: Opening) -> None:
    """That walk was undone, and MLflow has gone on since."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    walk(cloud, INSTANCE, "prepare", "stop", "start")
    project.world.let_pass(timedelta(days=20))
    walk(cloud, INSTANCE, "prepare")
    assert list_backups(project).count(("ON_DEMAND", "SUCCESSFUL")) == 2


def test_a_final_backup_of_an_earlier_namesake_proves_nothing(project: Project, open_cloud: Opening) -> None:
    """The instance was deleted, and brought back, and is another one."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    first = walk(cloud, INSTANCE, "prepare", "delete", "recover")
    assert "final" in {one.what.split(" ")[0] for one in cloud.list_kept(first)}
    project.world.let_pass(timedelta(days=1))
    again = walk(cloud, INSTANCE, "prepare")
    assert [one.what.split(" ")[0] for one in cloud.list_kept(again)] == ["on-demand"]


def test_guards_are_told_and_kept(project: Project, open_cloud: Opening) -> None:
    """Protection and replicas: told with the inventory, with the command; never taken away by us."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    walk(cloud, INSTANCE, "prepare")
    project.sql.instances["mlflow-db"]["settings"]["deletionProtectionEnabled"] = True
    project.sql.instances["mlflow-db"]["replicaNames"] = ["mlflow-db-2"]
    now = cloud.describe(INSTANCE)
    assert "--no-deletion-protection" in now.guards[0]
    assert "replica mlflow-db-2" in now.guards[1]
    with pytest.raises(BadRequest, match="protected"):
        cloud.delete(now)
    assert "mlflow-db" in project.sql.instances


def test_a_replica_is_deleted_without_a_backup_and_made_again_from_its_primary(
    project: Project, open_cloud: Opening
) -> None:
    """Once that is at work; a second call changes nothing; without its primary it is lost, and that is said."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    replica = project.sql.plant_replica("mlflow-db-2", "mlflow-db", tier="db-g1-small")
    primary = cloud.describe(INSTANCE)
    saved = walk(cloud, replica, "stop", "delete")
    assert "mlflow-db-2" not in project.sql.instances
    walk(cloud, INSTANCE, "prepare", "stop")
    with pytest.raises(TryAgain, match="which is not at work yet"):
        cloud.recover(saved)
    finish(cloud, cloud.start(primary))
    for _ in range(2):
        assert not finish(cloud, cloud.recover(saved)).problem
        assert not finish(cloud, cloud.start(saved)).problem
    assert to_saved(cloud.describe(replica)) == to_saved(saved)
    assert cloud.describe(INSTANCE).description["replicaNames"] == ["mlflow-db-2"]
    assert [call.method.id for call in project.world.log].count("sql.instances.insert") == 1
    walk(cloud, replica, "delete")
    walk(cloud, INSTANCE, "delete")
    with pytest.raises(NotFound, match="of which it was a replica"):
        cloud.recover(saved)


@pytest.mark.parametrize("method_id", ["sql.instances.get", "sql.Backups.ListBackups"])
def test_one_odd_404_leaves_nothing_out_of_an_inventory(project: Project, open_cloud: Opening, method_id: str) -> None:
    """What is listed is described again: of it, or of a part of it."""
    project.world.faults.order(Fault(kind=method_id, status=404))
    (found,) = open_cloud(Kind.SQL_INSTANCE).find(seek(project)).resources
    assert found.name == INSTANCE


def test_another_operation_on_the_instance_is_waited_for(project: Project, open_cloud: Opening) -> None:
    """409 operationInProgress: TryAgain, not a stale write."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    saved = walk(cloud, INSTANCE, "prepare")
    project.world.lag = 30
    project.sql.plant_operation("mlflow-db", "MAINTENANCE")
    with pytest.raises(TryAgain, match="another operation"):
        cloud.stop(saved)
    project.world.finish()
    project.world.lag = 2
    assert not finish(cloud, cloud.stop(saved)).problem


def test_a_start_during_a_stop_starts_the_instance(project: Project, open_cloud: Opening) -> None:
    """The stop's answer was lost: its operation is not the start's."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    saved = walk(cloud, INSTANCE, "prepare")
    project.world.lag = 6
    cloud.stop(saved)
    project.world.lag = 2
    assert not finish(cloud, cloud.start(saved)).problem
    project.world.finish()
    assert cloud.describe(INSTANCE).activity is Activity.ACTIVE


def test_a_recovered_instance_comes_from_the_final_backup(project: Project, open_cloud: Opening) -> None:
    """And when no backup is left, it says what to restore instead."""
    cloud = open_cloud(Kind.SQL_INSTANCE)
    saved = walk(cloud, INSTANCE, "prepare", "delete")
    finish(cloud, cloud.recover(saved))
    restore = next(call for call in project.world.log if call.method.id == "sql.instances.restoreBackup")
    assert project.sql.backups[restore.body["backup"]]["type"] == "FINAL"
    project.sql.instances.pop("mlflow-db")
    project.sql.backups.clear()
    with pytest.raises(NotFound, match="Restore the export instead"):
        cloud.recover(saved)


def test_a_list_that_says_it_is_not_whole_proves_nothing(project: Project, open_cloud: Opening) -> None:
    """Cloud SQL lists what it can reach, and warns of the rest."""
    page = project.world.page
    project.world.page = lambda items, call, key, size="pageSize", **more: page(  # type: ignore[method-assign]
        items, call, key, size, **more, **({"warnings": [{"code": "REGION_UNREACHABLE"}]} if key == "items" else {})
    )
    with pytest.raises(TryAgain, match="not whole"):
        open_cloud(Kind.SQL_INSTANCE).find(seek(project))


# Cloud Run.


@pytest.mark.needs_google_run
def test_a_stopped_service_has_no_tags_and_no_callers(project: Project, open_cloud: Opening) -> None:
    """A tagged revision may still start an instance. Nothing but scaling, ingress and traffic is sent."""
    cloud = open_cloud(Kind.RUN_SERVICE)
    walk(cloud, MLFLOW, "stop")
    service = project.run.services[MLFLOW]
    assert service["scaling"] == {"scalingMode": "MANUAL", "manualInstanceCount": 0}
    assert service["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert [target.get("tag") for target in service["traffic"]] == [None]
    patch = next(call for call in project.world.log if call.method.id.endswith("services.patch"))
    assert set(patch.one("updateMask").split(",")) == {"scaling", "ingress", "traffic"}
    assert "template" not in patch.body


@pytest.mark.needs_google_run
def test_a_redeployed_service_has_its_revision_its_tag_and_its_policy(project: Project, open_cloud: Opening) -> None:
    """Traffic names a revision, which the new service is given; callers are allowed again."""
    cloud = open_cloud(Kind.RUN_SERVICE)
    before = dict(project.run.services[MLFLOW])
    saved = walk(cloud, MLFLOW, "delete", "recover")
    after = project.run.services[MLFLOW]
    assert after["traffic"] == before["traffic"]
    assert after["uid"] != before["uid"]
    assert after["template"]["containers"] == before["template"]["containers"]
    assert f"{MLFLOW}/revisions/{before['traffic'][1]['revision']}" in project.run.revisions
    assert project.policies.policies[f"run/{MLFLOW}"]["bindings"] == saved.policy["bindings"]


@pytest.mark.needs_google_run
def test_terraforms_label_is_seen(project: Project, open_cloud: Opening) -> None:
    """It would bring the service back."""
    project.run.services[MLFLOW]["labels"] = {"app": "mlflow", "goog-terraform-provisioned": "true"}
    assert open_cloud(Kind.RUN_SERVICE).describe(MLFLOW).managed_by == "terraform"
    assert open_cloud(Kind.SQL_INSTANCE).describe(INSTANCE).managed_by == ""


# Buckets.


def test_a_write_since_the_inventory_stops_the_deletion(project: Project, open_cloud: Opening) -> None:
    """Nothing of the bucket is deleted, old or new."""
    cloud = open_cloud(Kind.BUCKET)
    saved = cloud.describe(BUCKET)
    project.storage.plant_object("acme-mlflow", "2/new/model.keras")
    with pytest.raises(StaleWrite, match="someone still writes"):
        cloud.delete(saved)
    assert len([name for name in project.storage.objects if name.startswith("acme-mlflow")]) == 4


def test_a_bucket_without_soft_delete_is_given_it_first(project: Project, open_cloud: Opening) -> None:
    """Without it, its objects would be gone at once."""
    project.storage.buckets["acme-mlflow"]["softDeletePolicy"]["retentionDurationSeconds"] = "0"
    cloud = open_cloud(Kind.BUCKET)
    with pytest.raises(BadRequest, match="no soft delete"):
        cloud.delete(cloud.describe(BUCKET))
    walk(cloud, BUCKET, "prepare")
    kept = project.storage.buckets["acme-mlflow"]["softDeletePolicy"]["retentionDurationSeconds"]
    assert int(kept) == 7 * 24 * 3600


def test_a_held_object_guards_its_bucket(project: Project, open_cloud: Opening) -> None:
    """Told with the inventory; nothing is deleted."""
    project.storage.plant_object("acme-mlflow", "held.txt", temporaryHold=True)
    cloud = open_cloud(Kind.BUCKET)
    now = cloud.describe(BUCKET)
    assert ["held.txt" in guard for guard in now.guards] == [True]
    with pytest.raises(BadRequest, match="held"):
        cloud.delete(now)
    assert len([name for name in project.storage.objects if name.startswith("acme-mlflow")]) == 4


def test_a_restored_bucket_has_the_same_version_on_top(project: Project, open_cloud: Opening) -> None:
    """Also where the deletion was cut short by a refusal, and the restoration by a lost reply."""
    cloud = open_cloud(Kind.BUCKET)
    saved = cloud.describe(BUCKET)
    project.world.faults.order(Fault(kind="storage.objects.delete", nth=2, status=503))
    with pytest.raises(TryAgain):
        cloud.delete(saved)
    project.world.faults.order(Fault(kind="storage.objects.restore", broken=True, after=True))
    insist(lambda: cloud.recover(saved))
    live = {one["name"]: one["size"] for one in cloud.describe(BUCKET).parts["objects"] if one["live"]}
    assert live == {one["name"]: one["size"] for one in saved.parts["objects"] if one["live"]}
    assert len(cloud.describe(BUCKET).parts["objects"]) == 3


def test_a_bucket_is_gone_for_good_after_its_soft_delete(project: Project, open_cloud: Opening) -> None:
    """What is kept, and until when, is told before."""
    cloud = open_cloud(Kind.BUCKET)
    saved = walk(cloud, BUCKET, "prepare", "delete")
    kept = cloud.list_kept(saved)
    assert [one.state for one in kept] == ["SOFT_DELETED"]
    assert kept[0].until is not None
    project.world.let_pass(timedelta(days=8))
    assert cloud.list_kept(saved) == ()
    with pytest.raises(NotFound, match="Restore the export instead"):
        cloud.recover(saved)


def test_one_object_that_is_gone_for_good_does_not_keep_the_others_away(project: Project, open_cloud: Opening) -> None:
    """All that can be restored is; then what is lost is told."""
    cloud = open_cloud(Kind.BUCKET)
    saved = cloud.describe(BUCKET)
    first = min((one for one in saved.parts["objects"] if one["live"]), key=lambda one: int(one["generation"]))
    project.world.faults.order(Fault(kind="storage.buckets.delete", status=503))
    with pytest.raises(TryAgain):
        cloud.delete(saved)
    (key,) = [key for key in project.storage.deleted_objects if key.endswith(f"#{first['generation']}")]
    project.storage.deleted_objects.pop(key)
    with pytest.raises(NotFound, match=r"1 objects of .* are gone for good"):
        cloud.recover(saved)
    assert len(cloud.describe(BUCKET).parts["objects"]) == len(saved.parts["objects"]) - 1


# Accounts and bindings.


def test_an_account_is_asked_for_in_its_project_and_by_its_id(project: Project, open_cloud: Opening) -> None:
    """Never by ``projects/-/``, where 403 would stand for "gone"; acts cannot mean a namesake."""
    cloud = open_cloud(Kind.SERVICE_ACCOUNT)
    saved = walk(cloud, ACCOUNT, "stop", "start", "delete", "recover")
    paths = [call.path for call in project.world.log if call.method.id.startswith("iam.")]
    assert not [path for path in paths if "/-/" in path]
    changes = [call.path for call in project.world.log if is_change(call.method)]
    assert {path.split("/")[-1] for path in changes} == {saved.unique_id}


def test_an_account_comes_back_for_thirty_days_with_its_bindings(project: Project, open_cloud: Opening) -> None:
    """After that another one would be made, which is not done."""
    cloud, bindings = open_cloud(Kind.SERVICE_ACCOUNT), open_cloud(Kind.BINDING)
    before = {name: policy["bindings"] for name, policy in project.policies.policies.items()}
    saved = walk(cloud, ACCOUNT, "stop", "delete")
    left = [resource.name.split("#")[1] for resource in bindings.find(seek(project)).resources]
    assert left == [f"deleted:{MEMBER}?uid={saved.unique_id}"] * 3
    finish(cloud, cloud.recover(saved))
    assert {name: policy["bindings"] for name, policy in project.policies.policies.items()} == before
    walk(cloud, ACCOUNT, "delete")
    project.world.let_pass(timedelta(days=30))
    with pytest.raises(NotFound, match="30 days"):
        cloud.recover(saved)


def test_a_leftover_of_a_deleted_account_is_taken_away(project: Project, open_cloud: Opening) -> None:
    """The ``deleted:`` form is a binding like another."""
    saved = walk(open_cloud(Kind.SERVICE_ACCOUNT), ACCOUNT, "delete")
    cloud = open_cloud(Kind.BINDING)
    for resource in cloud.find(seek(project)).resources:
        finish(cloud, cloud.delete(resource))
    assert cloud.find(seek(project)).resources == ()
    assert saved.unique_id not in str(project.policies.policies)


def test_conditions_and_other_members_stay(project: Project, open_cloud: Opening) -> None:
    """The whole policy goes back, in version 3: what else is in it is as it was."""
    condition = {"title": "in office", "expression": "request.time.getHours() < 18"}
    project.policies.policies["project/acme-ml"]["bindings"].append(
        {"role": "roles/viewer", "members": ["user:someone@example.com"], "condition": condition}
    )
    cloud = open_cloud(Kind.BINDING)
    walk(cloud, f"projects/acme-ml#{MEMBER}", "delete")
    bindings = project.policies.policies["project/acme-ml"]["bindings"]
    assert bindings[-1] == {"role": "roles/viewer", "members": ["user:someone@example.com"], "condition": condition}
    assert [binding["role"] for binding in bindings] == [
        "roles/owner", "roles/cloudsql.client", "roles/logging.logWriter", "roles/viewer",
    ]  # fmt: skip
    assert EMAIL not in str(bindings)


def test_a_policy_that_changes_in_between_is_read_again(project: Project, open_cloud: Opening) -> None:
    """Another team's grant at the same moment is neither lost nor a reason to give up."""
    cloud = open_cloud(Kind.BINDING)
    now = cloud.describe(f"projects/acme-ml#{MEMBER}")
    write = project.policies.write

    def interrupted(owner: str, given: object) -> object:
        project.policies.write = write  # type: ignore[method-assign]
        policy = project.policies.policies[owner]
        policy["bindings"].append({"role": "roles/browser", "members": ["user:new@example.com"]})
        policy["etag"] = project.world.new_etag()
        return write(owner, given)  # type: ignore[arg-type]

    project.policies.write = interrupted  # type: ignore[method-assign,assignment]
    with pytest.raises(TryAgain, match="under way"):
        cloud.delete(now)
    finish(cloud, cloud.delete(now))
    bindings = project.policies.policies["project/acme-ml"]["bindings"]
    assert bindings[-1]["members"] == ["user:new@example.com"]
    assert EMAIL not in str(bindings)


def test_a_binding_of_an_account_that_is_gone_is_not_put_back(project: Project, open_cloud: Opening) -> None:
    """Google refuses it: the account comes first."""
    cloud = open_cloud(Kind.BINDING)
    saved = walk(cloud, f"projects/acme-ml#{MEMBER}", "delete")
    walk(open_cloud(Kind.SERVICE_ACCOUNT), ACCOUNT, "delete")
    with pytest.raises(BadRequest, match="does not exist"):
        cloud.recover(saved)


# Secrets.


def test_a_secret_is_deleted_when_its_versions_are_destroyed(project: Project, open_cloud: Opening) -> None:
    """Deleting it before would take them at once, delay or not."""
    cloud = open_cloud(Kind.SECRET)
    saved = walk(cloud, SECRET, "prepare", "stop", "delete")
    assert cloud.describe(SECRET).activity is Activity.DELETED
    assert {one.state for one in cloud.list_kept(saved)} == {"DISABLED"}
    assert all(one.until for one in cloud.list_kept(saved))
    project.world.let_pass(timedelta(days=7))
    with pytest.raises(NotFound, match="too late"):
        cloud.recover(saved)
    finish(cloud, cloud.delete(cloud.describe(SECRET)))
    with pytest.raises(NotFound):
        cloud.describe(SECRET)
    assert not [call for call in project.world.log if call.method.id.endswith(":access") or "access" in call.method.id]


def test_a_secret_without_a_delay_is_not_destroyed(project: Project, open_cloud: Opening) -> None:
    """Its versions would be gone at once."""
    cloud = open_cloud(Kind.SECRET)
    with pytest.raises(BadRequest, match="Prepare it first"):
        cloud.delete(cloud.describe(SECRET))
    assert {version["state"] for version in project.secrets.versions.values()} == {"ENABLED"}


def test_one_version_that_is_destroyed_does_not_keep_the_others_away(project: Project, open_cloud: Opening) -> None:
    """All that can be taken back is; then what is lost is told."""
    cloud = open_cloud(Kind.SECRET)
    saved = walk(cloud, SECRET, "prepare", "stop", "delete")
    project.secrets.versions[f"{SECRET}/versions/1"]["state"] = "DESTROYED"
    with pytest.raises(NotFound, match="versions/1 is destroyed"):
        cloud.recover(saved)
    assert project.secrets.versions[f"{SECRET}/versions/2"]["state"] == "ENABLED"


def test_a_version_that_was_disabled_before_stays_so(project: Project, open_cloud: Opening) -> None:
    """An undo restores what was, not more."""
    project.secrets.versions[f"{SECRET}/versions/1"]["state"] = "DISABLED"
    walk(open_cloud(Kind.SECRET), SECRET, "prepare", "stop", "delete", "recover")
    states = [project.secrets.versions[f"{SECRET}/versions/{n}"]["state"] for n in (1, 2)]
    assert states == ["DISABLED", "ENABLED"]


# Variables.


def test_a_variable_goes_back_to_its_place(project: Project, open_cloud: Opening) -> None:
    """Between the same others; what was deployed in between stays."""
    cloud = open_cloud(Kind.VARIABLE)
    resources = {resource.name: resource for resource in cloud.find(seek(project)).resources}
    names = [f"{API}#MLFLOW_TRACKING_URI", f"{API}#TRACKING_PASSWORD"]
    env = project.run.services[API]["template"]["containers"][0]["env"]
    for name in names:
        finish(cloud, cloud.stop(resources[name]))
    container = project.run.services[API]["template"]["containers"][0]
    assert [entry["name"] for entry in container["env"]] == ["MODE", "LOG_LEVEL"]
    container["image"] = "img/api:2"
    for name in reversed(names):
        finish(cloud, cloud.start(resources[name]))
    container = project.run.services[API]["template"]["containers"][0]
    assert (container["image"], container["env"]) == ("img/api:2", env)


def test_values_of_other_variables_are_not_saved(project: Project, open_cloud: Opening) -> None:
    """They may be secrets of another team's service; what is put back is the one variable."""
    env = project.run.services[API]["template"]["containers"][0]["env"]
    env.append({"name": "STRIPE_KEY", "value": "sk_live_1"})
    cloud = open_cloud(Kind.VARIABLE)
    saved = cloud.describe(f"{API}#MLFLOW_TRACKING_URI")
    assert b"sk_live_1" not in msgspec.json.encode(saved)
    assert saved.parts["entries"][0]["entry"]["value"]
    finish(cloud, cloud.stop(saved))
    finish(cloud, cloud.start(saved))
    assert {"name": "STRIPE_KEY", "value": "sk_live_1"} in project.run.services[API]["template"]["containers"][0]["env"]


def test_a_job_is_sent_whole(project: Project, open_cloud: Opening) -> None:
    """Its patch has no mask: what is not sent would be lost."""
    cloud = open_cloud(Kind.VARIABLE)
    before = project.run.jobs[TRAIN]["template"]
    walk(cloud, f"{TRAIN}#MLFLOW_TRACKING_URI", "stop")
    after = project.run.jobs[TRAIN]["template"]
    assert (after["taskCount"], after["template"]["timeout"]) == (before["taskCount"], before["template"]["timeout"])
    assert [entry["name"] for entry in after["template"]["containers"][0]["env"]] == ["LOG_LEVEL"]


def test_variables_are_found_by_their_own_name(project: Project, open_cloud: Opening) -> None:
    """``MLFLOW_*``, whatever is in it; and by the secret that is behind it."""
    sought = msgspec.structs.replace(seek(project), references=(), names={Kind.VARIABLE: ("MLFLOW_*",)})
    found = open_cloud(Kind.VARIABLE).find(sought).resources
    assert [resource.name for resource in found] == [f"{TRAIN}#MLFLOW_TRACKING_URI", f"{API}#MLFLOW_TRACKING_URI"]
    sought = msgspec.structs.replace(seek(project), references=("mlflow-password",), names={})
    found = open_cloud(Kind.VARIABLE).find(sought).resources
    assert [resource.name for resource in found] == [f"{API}#TRACKING_PASSWORD"]


def test_a_deployment_in_between_is_not_lost(project: Project, open_cloud: Opening) -> None:
    """The etag of what was read goes with the change: 409, and the next call reads again."""
    cloud = open_cloud(Kind.VARIABLE)
    now = cloud.describe(f"{API}#MLFLOW_TRACKING_URI")
    project.world.faults.order(Fault(kind="run.projects.locations.services.patch", status=409))
    with pytest.raises(StaleWrite):
        cloud.stop(now)
    patches = [call for call in project.world.log if call.method.id.endswith("services.patch")]
    assert patches == []
    finish(cloud, cloud.stop(now))
    patch = next(call for call in project.world.log if call.method.id.endswith("services.patch"))
    assert patch.body["etag"]
    assert "revision" not in patch.body["template"]


# Triggers.


def test_triggers_are_asked_for_everywhere(project: Project, open_cloud: Opening) -> None:
    """The global list and each region's; acts name the place in the path."""
    cloud = open_cloud(Kind.BUILD_TRIGGER)
    found = cloud.find(seek(project))
    assert found.places == ("global", "asia-east1", REGION, "us-central1")
    for resource in found.resources:
        walk(cloud, resource.name, "stop", "delete")
    assert cloud.find(seek(project)).resources == ()
    changes = [call.method.id for call in project.world.log if is_change(call.method)]
    assert set(changes) == {
        "cloudbuild.projects.locations.triggers.patch", "cloudbuild.projects.locations.triggers.delete",
    }  # fmt: skip
