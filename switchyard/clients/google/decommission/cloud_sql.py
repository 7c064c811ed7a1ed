"""Takes away Cloud SQL instances. Deleting one deletes its backups at once, unless its settings say otherwise.

Source: https://cloud.google.com/sql/docs/postgres/delete-instance, the discovery document sqladmin.v1, and
https://github.com/hashicorp/terraform-provider-google/issues/7072 (backups that were lost)
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from switchyard.clients.google.decommission.access import Access, Api, wait
from switchyard.clients.google.decommission.matching import (
    Listed,
    check_same,
    check_unchanged,
    find,
    find_manager,
    looked_at_again,
    over,
)
from switchyard.clients.google.decommission.permissions import Permissions
from switchyard.core.decommission.order import is_replica, to_final_backup_days
from switchyard.core.decommission.resources import (
    Activity,
    Found,
    Kept,
    Kind,
    Operation,
    Progress,
    Resource,
    Sought,
)
from switchyard.core.errors import BadRequest, NotFound, StaleWrite, TryAgain

PREPARED_BY: Final = "switchyard decommission"
"""Stands in the description of our backups: a second call finds the first one's by it."""
_NEEDED: Final = (
    "cloudsql.instances.get", "cloudsql.instances.list", "cloudsql.instances.update", "cloudsql.instances.delete",
    "cloudsql.instances.create", "cloudsql.databases.list",
    "cloudsql.backupRuns.create", "cloudsql.backupRuns.get", "cloudsql.backupRuns.list",
)  # fmt: skip
_NOT_RUNNING: Final = "instance is not running"
"""Source: https://github.com/turbot/steampipe-plugin-gcp/issues/243 (the whole answer, 400)."""
_KEEPING: Final = ("retainBackupsOnDelete", "finalBackupConfig")
"""The settings that make backups outlive a deletion."""
_REPLICATED: Final = ("region", "databaseVersion", "instanceType", "settings", "diskEncryptionConfiguration")
"""What a replica is made again with."""


class CloudSql:
    """Implements `Cloud` over Cloud SQL Admin v1. Threads may share it.

    Args:
        pause: waits between two looks at an operation.
        patience_s: how long `prepare` waits for its first operation, before its second may begin.
    """

    kind = Kind.SQL_INSTANCE

    def __init__(
        self, access: Access, project: str, *, pause: Callable[[float], None] = time.sleep, patience_s: float = 600.0
    ) -> None:
        self._api = Api(access, "sqladmin", "v1")
        self._permissions = Permissions(access, project)
        self._project = project
        self._pause = pause
        self._patience_s = patience_s

    def find(self, sought: Sought) -> Found:
        """See the port. One list holds the instances of all regions."""
        items = self._api.list_all(
            lambda client, token: client.instances().list(project=sought.project, pageToken=token),
            "items",
            where=f"the instances of projects/{sought.project}",
            permission="cloudsql.instances.list",
        )
        listed = [
            Listed(
                name=_to_name(item),
                handles=(item["name"], item.get("connectionName", "")),
                labels=item.get("settings", {}).get("userLabels", {}),
            )
            for item in items
        ]
        return find(self.kind, sought, listed, ["global"], self.describe)

    def describe(self, name: str) -> Resource:
        """See the port. `parts` has its backups, and its databases while it runs."""
        project, short = _split(name)
        item = self._api.call(
            lambda client: client.instances().get(project=project, instance=short),
            action="read",
            where=name,
            permission="cloudsql.instances.get",
        )
        settings = item.get("settings", {})
        guards = []
        if settings.get("deletionProtectionEnabled"):
            guards.append(
                f"{name} is protected from deletion. Take that away: gcloud sql instances patch {short} "
                f"--no-deletion-protection --project {project}"
            )
        guards += [f"{name} has the replica {replica}. Delete it first" for replica in item.get("replicaNames", ())]
        return Resource(
            kind=self.kind,
            name=name,
            unique_id=item.get("createTime", ""),
            version=str(settings.get("settingsVersion", "")),
            activity=Activity.STOPPED if settings.get("activationPolicy") == "NEVER" else Activity.ACTIVE,
            description=item,
            parts={"backups": self._list_backups(name), **self._read_databases(name, item)},
            managed_by=find_manager(settings.get("userLabels", {})),
            guards=tuple(guards),
        )

    def list_missing_permissions(self, resource: Resource) -> tuple[str, ...]:
        """See the port. Instances have no own policy: the project's decides."""
        return self._permissions.find_missing(_NEEDED)

    def prepare(self, resource: Resource) -> Operation:
        """See the port. Lets backups outlive the instance, then makes one on demand; the operation is the backup's.

        A backup that `resource` already has does not count.

        Raises also: TryAgain: the settings are not there yet: call again."""
        if under_way := self._find_operation(resource, "UPDATE"):
            self._wait(under_way)
        backing_up = self._find_operation(resource, "BACKUP_VOLUME", "BACKUP")
        now = self.describe(resource.name)
        check_same(resource, now)
        if backing_up:
            return backing_up
        if not _keeps_backups(now):
            check_unchanged(resource, now)
            self._wait(self._patch(now, "keep the backups of", _to_keeping(now)))
        before = {backup["name"] for backup in resource.parts.get("backups", ())}  # an earlier walk's are too old
        ours = (backup for backup in self._list_backups(now.name) if _is_ours(backup) and backup["name"] not in before)
        if any(backup.get("state") != "FAILED" for backup in ours):
            return over(now)
        body = {"instance": _split(now.name)[1], "description": f"{PREPARED_BY}: before the stop of {now.name}"}
        answer = self._api.call(
            lambda client: client.Backups().CreateBackup(parent=f"projects/{_split(now.name)[0]}", body=body),
            action="back up",
            where=now.name,
            permission="cloudsql.backupRuns.create",
        )
        return over(now, answer["name"])

    def stop(self, resource: Resource) -> Operation:
        """See the port. Charges for the instance end; those for storage and addresses go on."""
        under_way = self._find_operation(resource, "UPDATE")
        now = self.describe(resource.name)
        check_same(resource, now)
        if under_way:
            return under_way
        if now.activity is Activity.STOPPED:
            return over(now)
        check_unchanged(resource, now)
        return self._patch(now, "stop", {"activationPolicy": "NEVER"})

    def start(self, saved: Resource) -> Operation:
        """See the port. Waits for what is under way: it may be a stop with an answer that was lost.

        Raises also: TryAgain: it is not over: call again."""
        if under_way := self._find_operation(saved, "UPDATE"):
            self._wait(under_way)
        now = self.describe(saved.name)
        if not _is_remade(saved, now):
            check_same(saved, now)
        wanted = saved.description["settings"].get("activationPolicy", "ALWAYS")
        if now.description["settings"].get("activationPolicy", "ALWAYS") == wanted:
            return over(now)
        return self._patch(now, "start", {"activationPolicy": wanted})

    def delete(self, resource: Resource) -> Operation:
        """See the port. Makes a final backup, and also asks for one with the request.

        What `prepare` set is read back first: without it the backups are lost. A replica has no own data, so nothing is
        prepared or kept of it."""
        under_way = self._find_operation(resource, "DELETE")
        try:
            now = self.describe(resource.name)
        except NotFound:
            return over(resource)
        check_same(resource, now)
        if under_way:
            return under_way
        check_unchanged(resource, now)
        _check_deletable(now)
        project, short = _split(now.name)
        final: dict[str, Any] = {
            "enableFinalBackup": True,
            "finalBackupTtlDays": str(to_final_backup_days(now)),
            "finalBackupDescription": f"{PREPARED_BY}: the last of {now.name}",
        }
        with looked_at_again(now.name):
            answer = self._api.call(
                lambda client: client.instances().delete(
                    project=project, instance=short, **({} if is_replica(now) else final)
                ),
                action="delete",
                where=now.name,
                permission="cloudsql.instances.delete",
            )
        return over(now, answer["name"])

    def recover(self, saved: Resource) -> Operation:
        """See the port. Makes a new instance of the same name, from the final backup, else from the newest kept one.

        It gets other addresses. A replica is made again from its primary. A deletion that is under way is waited for,
        because until its end the instance is there.

        Raises also: TryAgain: it is not over, or a replica's primary is not at work: call again.

        Source: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups (restore after deletion),
        /postgres/replication/create-replica"""
        if under_way := self._find_operation(saved, "RESTORE_VOLUME", "CREATE", "CREATE_REPLICA"):
            return under_way
        if under_way := self._find_operation(saved, "DELETE"):
            self._wait(under_way)
        try:
            now = self.describe(saved.name)
        except NotFound:
            return self._replicate(saved) if is_replica(saved) else self._restore(saved)
        if now.unique_id == saved.unique_id or _to_settable(now) == _to_settable(saved):
            return over(now)
        raise StaleWrite(
            f"{now.name} is there, and it is another one: it was made at {now.unique_id}. Rename one of them"
        )

    def poll(self, operation: Operation) -> Progress:
        """See the port. An operation that is DONE may have failed."""
        if not operation.name:
            return Progress(done=True)
        answer = self._api.call(
            lambda client: client.operations().get(project=_split(operation.resource)[0], operation=operation.name),
            action="read the operation on",
            where=operation.resource,
            permission="cloudsql.instances.get",
        )
        errors = answer.get("error", {}).get("errors", ())
        said = "; ".join(f"{error.get('code', '')}: {error.get('message', '')}" for error in errors)
        done = answer["status"] == "DONE"
        return Progress(done=done, problem=(said or "it has failed") if done and "error" in answer else "")

    def list_kept(self, saved: Resource) -> tuple[Kept, ...]:
        """See the port: its backups, without older ones and those of an earlier namesake, which has others' data."""
        return tuple(
            Kept(
                what=f"{backup.get('type', '').lower().replace('_', '-')} backup {backup['name']}",
                state=backup.get("state", ""),
                until=datetime.fromisoformat(backup["expiryTime"]) if backup.get("expiryTime") else None,
                name=backup["name"],
            )
            for backup in self._list_backups(saved.name)
            if not _to_time(backup) or _to_time(backup) >= saved.unique_id
        )

    def list_operations(self, name: str) -> list[dict[str, Any]]:
        """Returns what was done with the instance of that name, newest first."""
        project, short = _split(name)
        return self._api.list_all(
            lambda client, token: client.operations().list(project=project, instance=short, pageToken=token),
            "items",
            where=f"the operations on {name}",
            permission="cloudsql.instances.list",
        )

    def _patch(self, now: Resource, action: str, settings: Mapping[str, Any]) -> Operation:
        project, short = _split(now.name)
        body = {"settings": {**settings, "settingsVersion": now.version}}
        answer = self._api.call(
            lambda client: client.instances().patch(project=project, instance=short, body=body),
            action=action,
            where=now.name,
            permission="cloudsql.instances.update",
        )
        return over(now, answer["name"])

    def _restore(self, saved: Resource) -> Operation:
        usable = [
            backup
            for backup in self._list_backups(saved.name)
            if backup.get("state") == "SUCCESSFUL" and _to_time(backup) >= saved.unique_id
        ]
        if not usable:
            raise NotFound(f"{saved.name} is deleted, and no backup of it is left. Restore the export instead")
        best = max(usable, key=lambda backup: (backup.get("type") == "FINAL", _to_time(backup)))
        settings = {key: value for key, value in saved.description["settings"].items() if key != "settingsVersion"}
        project, short = _split(saved.name)
        body = {"backup": best["name"], "restoreInstanceSettings": {"settings": settings}}
        answer = self._api.call(
            lambda client: client.instances().restoreBackup(project=project, instance=short, body=body),
            action="restore",
            where=saved.name,
            permission="cloudsql.instances.create",
        )
        return over(saved, answer["name"])

    def _replicate(self, saved: Resource) -> Operation:
        project, short = _split(saved.name)
        primary = f"projects/{project}/instances/{_to_primary(saved.description)}"
        try:
            now = self.describe(primary)
        except NotFound as err:
            raise NotFound(f"{saved.name} is deleted, and so is {primary}, of which it was a replica") from err
        if now.activity is not Activity.ACTIVE or now.description.get("state", "RUNNABLE") != "RUNNABLE":
            raise TryAgain(f"{saved.name} is a replica of {primary}, which is not at work yet")
        body = {key: saved.description[key] for key in _REPLICATED if key in saved.description}
        body["settings"] = {key: value for key, value in body["settings"].items() if key != "settingsVersion"}
        body |= {"name": short, "masterInstanceName": _to_primary(saved.description)}
        answer = self._api.call(
            lambda client: client.instances().insert(project=project, body=body),
            action="make again",
            where=saved.name,
            permission="cloudsql.instances.create",
        )
        return over(saved, answer["name"])

    def _wait(self, begun: Operation) -> None:
        wait(
            lambda: self.poll(begun),
            f"the operation {begun.name} on {begun.resource}",
            pause=self._pause,
            patience_s=self._patience_s,
        )

    def _find_operation(self, resource: Resource, *kinds: str) -> Operation | None:
        """Returns one that is under way. It is found again here where the answer to its begin was lost.

        It is read before the instance: what is over by then shows in what is read."""
        for operation in self.list_operations(resource.name):
            if operation["status"] != "DONE" and operation.get("operationType") in kinds:
                return over(resource, operation["name"])
        return None

    def _read_databases(self, name: str, item: Mapping[str, Any]) -> dict[str, list[str]]:
        """Returns the databases. A stopped instance refuses to list them, and a replica has its primary's."""
        is_stopped = item.get("settings", {}).get("activationPolicy") == "NEVER" or item.get("state") != "RUNNABLE"
        if is_stopped or item.get("masterInstanceName"):
            return {}
        project, short = _split(name)
        try:
            answer = self._api.call(
                lambda client: client.databases().list(project=project, instance=short),
                action="list the databases of",
                where=name,
                permission="cloudsql.databases.list",
            )
        except BadRequest as err:
            if _NOT_RUNNING in str(err):  # it is starting, or was stopped just now
                return {}
            raise
        return {"databases": sorted(database["name"] for database in answer.get("items", ()))}

    def _list_backups(self, name: str) -> list[dict[str, Any]]:
        project, short = _split(name)
        backups = self._api.list_all(
            lambda client, token: client.Backups().ListBackups(parent=f"projects/{project}", pageToken=token),
            "backups",
            where=f"the backups of projects/{project}",
            permission="cloudsql.backupRuns.list",
        )
        mine = [backup for backup in backups if backup.get("instance") == short]
        return [{key: value for key, value in backup.items() if key != "instanceSettings"} for backup in mine]


def _check_deletable(now: Resource) -> None:
    if now.guards:
        raise BadRequest("; ".join(now.guards))
    if is_replica(now):
        return
    if not _keeps_backups(now):
        raise BadRequest(
            f"{now.name} would take its backups with it: retainBackupsOnDelete and finalBackupConfig are not set. "
            "Prepare it first"
        )
    if not any(_is_ours(backup) and backup.get("state") == "SUCCESSFUL" for backup in now.parts["backups"]):
        raise BadRequest(f"{now.name} has no backup of ours that is SUCCESSFUL. Prepare it first, before it is stopped")


def _keeps_backups(resource: Resource) -> bool:
    settings = resource.description.get("settings", {})
    final = settings.get("finalBackupConfig", {})
    return bool(settings.get("retainBackupsOnDelete") and final.get("enabled"))


def _to_keeping(resource: Resource) -> dict[str, Any]:
    """Returns settings that keep all backups, and a final one for the time that was set or our least, if longer."""
    final = {"enabled": True, "retentionDays": to_final_backup_days(resource)}
    return dict(zip(_KEEPING, (True, final), strict=True))


def _is_ours(backup: Mapping[str, Any]) -> bool:
    return str(backup.get("description", "")).startswith(PREPARED_BY) and backup.get("type") == "ON_DEMAND"


def _to_time(backup: Mapping[str, Any]) -> str:
    return str(backup.get("backupInterval", {}).get("endTime", ""))


def _to_settable(resource: Resource) -> dict[str, Any]:
    """Returns the settings without what `prepare` sets: an inventory is older than that, and a backup is not."""
    ours = {"settingsVersion", *_KEEPING}
    settings = {key: value for key, value in resource.description["settings"].items() if key not in ours}
    found = resource.description
    return {"settings": settings, "databaseVersion": found.get("databaseVersion"), "primary": _to_primary(found)}


def _is_remade(saved: Resource, now: Resource) -> bool:
    """Returns whether it is what `recover` makes of `saved`, stopped or not."""
    before, after = _to_settable(saved), _to_settable(now)
    for one in (before, after):
        one["settings"].pop("activationPolicy", None)
    return saved.unique_id != now.unique_id and before == after


def _to_primary(description: Mapping[str, Any]) -> str:
    """Returns the short name of a replica's primary; Google also answers ``<project>:<name>``. Empty: no replica."""
    return str(description.get("masterInstanceName", "")).rpartition(":")[2]


def _to_name(item: Mapping[str, Any]) -> str:
    return f"projects/{item['project']}/instances/{item['name']}"


def _split(name: str) -> tuple[str, str]:
    _, project, _, short = name.split("/")
    return project, short
