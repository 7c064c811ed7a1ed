"""Cloud SQL Admin v1: instances, backups that may outlive them, one operation at a time.

Source, where a rule names no other: the descriptions in the discovery document sqladmin.v1.
"""

import copy
from datetime import timedelta
from typing import Any

from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, from_stamp, route, to_stamp


class Sql(Service):
    """Instances by their short names, backups by ``projects/p/backups/n``."""

    api = "sqladmin"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.instances, self.backups = self.shelf("instances"), self.shelf("backups")
        self.databases = self.shelf("databases")  # by instance and name
        self.backed_up: dict[str, list[str]] = {}  # by backup
        self.operations: dict[str, Json] = {}

    def plant_database(self, instance: str, name: str) -> None:
        """One more database on an instance."""
        self.databases[f"{instance}/{name}"] = {
            "kind": "sql#database",
            "name": name,
            "instance": instance,
            "project": self.world.project,
        }

    def plant_instance(
        self, name: str, region: str = "europe-west1", databases: tuple[str, ...] = (), **settings: Any
    ) -> str:
        """A Postgres that runs; returns its full name."""
        for database in ("postgres", *databases):
            self.plant_database(name, database)
        self.instances[name] = {
            "kind": "sql#instance",
            "name": name,
            "project": self.world.project,
            "region": region,
            "connectionName": f"{self.world.project}:{region}:{name}",
            "databaseVersion": "POSTGRES_16",
            "instanceType": "CLOUD_SQL_INSTANCE",
            "backendType": "SECOND_GEN",
            "state": "RUNNABLE",
            "createTime": self.world.stamp(),
            "settings": {
                "kind": "sql#settings",
                "tier": "db-f1-micro",
                "activationPolicy": "ALWAYS",
                "settingsVersion": "1",
                "dataDiskSizeGb": "10",
                **settings,
            },
        }
        return f"projects/{self.world.project}/instances/{name}"

    def plant_replica(self, name: str, primary: str, region: str = "europe-west1", **settings: Any) -> str:
        """A read replica of `primary`; returns its full name."""
        full = self.plant_instance(name, region, **settings)
        self._follow(self.instances[name], primary)
        return full

    def plant_backup(self, instance: str, kind: str = "AUTOMATED", state: str = "SUCCESSFUL") -> str:
        """A backup that was made before; returns its name."""
        return self._add_backup(instance, kind, {"state": state})

    def plant_operation(self, instance: str, kind: str) -> str:
        """Something that someone did with the instance, and that is over."""
        return str(self._begin(instance, kind, lambda: None, "")["name"])

    def settle(self) -> None:
        """Backups go when their time is over."""
        for name in [
            n for n, b in self.backups.items() if "expiryTime" in b and from_stamp(b["expiryTime"]) <= self.world.now
        ]:
            self.backups.take(name)

    @route("sql.instances.get", "cloudsql.instances.get")
    def get(self, call: Call) -> Json:
        return self._instance(call)

    @route("sql.instances.list", "cloudsql.instances.list")
    def list_all(self, call: Call) -> Json:
        return self.world.page(self.instances.listed(call), call, "items", "maxResults", kind="sql#instancesList")

    @route("sql.databases.list", "cloudsql.databases.list")
    def list_databases(self, call: Call) -> Json:
        """Lists the databases; refuses for an instance that does not run.

        Source: https://github.com/turbot/steampipe-plugin-gcp/issues/243 (the whole answer).
        """
        instance = self._instance(call)
        if instance["settings"]["activationPolicy"] == "NEVER":
            said = "Invalid request: Invalid request since instance is not running."
            raise Refused(400, said, reason="invalid")
        return {"kind": "sql#databasesList", "items": self.databases.listed(call, f"{instance['name']}/")}

    @route("sql.instances.patch", "cloudsql.instances.update")
    def patch(self, call: Call) -> Json:
        """A stale version: 412.

        Source: https://github.com/hashicorp/terraform-provider-google/issues/12324 (the whole answer).
        """
        instance = self._instance(call)
        given = copy.deepcopy(call.body.get("settings", {}))
        if "settingsVersion" in given and given["settingsVersion"] != instance["settings"]["settingsVersion"]:
            raise Refused(412, "Condition does not match.", reason="staleData")

        def effect() -> None:
            instance["settings"].update(given)
            instance["settings"]["settingsVersion"] = str(int(instance["settings"]["settingsVersion"]) + 1)

        return self._begin(instance["name"], "UPDATE", effect, call.fault.error)

    @route("sql.instances.delete", "cloudsql.instances.delete")
    def delete(self, call: Call) -> Json:
        """The backups go with it, at once, unless one asked otherwise before; a final one is made where asked for.

        Source: https://cloud.google.com/sql/docs/postgres/delete-instance and
        https://github.com/hashicorp/terraform-provider-google/issues/7072
        """
        instance = self._instance(call)
        name, settings = instance["name"], instance["settings"]
        if settings.get("deletionProtectionEnabled"):
            said = "The instance is protected. Please disable the deletion protection and try again."
            raise Refused(400, said, reason="invalidRequest")
        if instance.get("replicaNames"):
            said = "The requested operation is not valid for the current state: the instance has replicas."
            raise Refused(400, said, reason="operationNotAllowed")
        days = int(call.one("finalBackupTtlDays") or settings.get("finalBackupConfig", {}).get("retentionDays") or 0)
        if call.one("finalBackupTtlDays") and not 1 <= days <= 365:
            raise Refused(400, "finalBackupTtlDays must be between 1 and 365", reason="invalidRequest")

        if call.one("enableFinalBackup") == "true" and instance.get("masterInstanceName"):
            # Inferred: a replica has no backups (https://cloud.google.com/sql/docs/postgres/replication).
            raise Refused(400, "The operation is not valid for a read replica.", reason="invalidRequest")

        def effect() -> None:
            databases = self._take_databases(name)
            self.instances.take(name)
            for other in self.instances.values():
                if name in other.get("replicaNames", ()):
                    other["replicaNames"].remove(name)
            for backup in [b for b in self.backups.values() if b["instance"] == name]:
                if settings.get("retainBackupsOnDelete"):
                    backup["instanceDeletionTime"] = self.world.stamp()
                else:
                    self.backups.take(backup["name"])
            if call.one("enableFinalBackup") == "true" or settings.get("finalBackupConfig", {}).get("enabled"):
                more: Json = {"instanceDeletionTime": self.world.stamp()}
                more["description"] = call.one("finalBackupDescription")
                if days:
                    more["expiryTime"] = to_stamp(self.world.now + timedelta(days=days))
                self.backed_up[self._add_backup(name, "FINAL", more, instance)] = databases

        return self._begin(name, "DELETE", effect, call.fault.error)

    @route("sql.instances.restoreBackup", "cloudsql.instances.create")
    def restore(self, call: Call) -> Json:
        """Into a new instance, with the settings that the backup has but for those that are given."""
        name, backup = call.params["instance"], self.backups.get(call.body.get("backup", ""))
        if backup is None:
            raise Refused(404, "The backup does not exist.")
        if name in self.instances:
            raise Refused(501, "to restore over an instance that is there: this endpoint does not")
        held = copy.deepcopy(backup["instanceSettings"])
        held["settings"].update(copy.deepcopy(call.body.get("restoreInstanceSettings", {}).get("settings", {})))
        held["settings"]["settingsVersion"] = "1"

        def effect() -> None:
            self.instances[name] = {**held, "name": name, "createTime": self.world.stamp(), "state": "RUNNABLE"}
            for database in self.backed_up[backup["name"]]:
                self.plant_database(name, database)

        return self._begin(name, "RESTORE_VOLUME", effect, call.fault.error)

    @route("sql.instances.insert", "cloudsql.instances.create")
    def insert(self, call: Call) -> Json:
        """A read replica of an instance that runs and has backups on.

        Source: https://cloud.google.com/sql/docs/postgres/replication/create-replica"""
        name, primary = call.body["name"], call.body.get("masterInstanceName", "")
        if not primary:
            raise Refused(501, "to make an instance that is no replica: this endpoint does not")
        if name in self.instances:
            raise Refused(409, "The Cloud SQL instance already exists.", reason="instanceAlreadyExists")
        followed = self.instances.get(primary)
        if followed is None:
            raise Refused(404, "The Cloud SQL instance does not exist.", reason="instanceDoesNotExist")
        on = followed["settings"].get("backupConfiguration", {}).get("enabled")
        if followed["settings"]["activationPolicy"] == "NEVER" or not on:
            said = "The instance or operation is not in an appropriate state to handle the request."
            raise Refused(400, said, reason="invalidState")

        def effect() -> None:
            self.plant_instance(name, call.body["region"], **copy.deepcopy(call.body["settings"]))
            self._follow(self.instances[name], primary)

        return self._begin(name, "CREATE_REPLICA", effect, call.fault.error)

    @route("sql.Backups.ListBackups", "cloudsql.backupRuns.list")
    def list_backups(self, call: Call) -> Json:
        return self.world.page(self.backups.listed(call), call, "backups")

    @route("sql.Backups.GetBackup", "cloudsql.backupRuns.get")
    def get_backup(self, call: Call) -> Json:
        if call.path not in self.backups:
            raise Refused(404, "The backup does not exist.")
        return self.backups[call.path]

    @route("sql.Backups.CreateBackup", "cloudsql.backupRuns.create")
    def create_backup(self, call: Call) -> Json:
        """Of an instance that is stopped: refused here.

        No source says so; a caller that takes its backup before the stop is right either way.
        """
        name = call.body.get("instance", "")
        if name not in self.instances:
            raise Refused(404, "The Cloud SQL instance does not exist.", reason="instanceDoesNotExist")
        if self.instances[name]["settings"]["activationPolicy"] == "NEVER":
            said = "The instance or operation is not in an appropriate state to handle the request."
            raise Refused(400, said, reason="invalidState")
        more = {"description": call.body.get("description", "")}
        return self._begin(
            name, "BACKUP_VOLUME", lambda: void(self._add_backup(name, "ON_DEMAND", more)), call.fault.error
        )

    @route("sql.operations.get", "cloudsql.instances.get")
    def get_operation(self, call: Call) -> Json:
        if call.params["operation"] not in self.operations:
            raise Refused(404, "The operation does not exist.", reason="operationDoesNotExist")
        return self.operations[call.params["operation"]]

    @route("sql.operations.list", "cloudsql.instances.list")
    def list_operations(self, call: Call) -> Json:
        """Newest first."""
        wanted = call.one("instance")
        found = [op for op in reversed(self.operations.values()) if wanted in ("", op["targetId"])]
        return self.world.page(found, call, "items", "maxResults", kind="sql#operationsList")

    def _begin(self, instance: str, kind: str, effect: Any, error: str) -> Json:
        """One at a time.

        Source: https://cloud.google.com/sql/docs/troubleshooting ("another operation was already in progress"). An
        operation that is DONE may have failed: only its ``error`` says so.
        """
        if any(op["targetId"] == instance and op["status"] != "DONE" for op in self.operations.values()):
            said = "Operation failed because another operation was already in progress."
            raise Refused(409, said, reason="operationInProgress")
        name = f"op-{self.world.new_id()}"
        self.operations[name] = {
            "kind": "sql#operation",
            "name": name,
            "status": "PENDING",
            "operationType": kind,
            "targetId": instance,
            "targetProject": self.world.project,
            "insertTime": self.world.stamp(),
            "user": "tester@example.com",
        }

        def done() -> None:
            self.operations[name].update(status="DONE", endTime=self.world.stamp())
            if error:
                listed = [{"kind": "sql#operationError", "code": "INTERNAL_ERROR", "message": error}]
                self.operations[name]["error"] = {"kind": "sql#operationErrors", "errors": listed}
            else:
                effect()

        self.world.later(done)
        return self.operations[name]

    def _take_databases(self, instance: str) -> list[str]:
        mine = [name for name in self.databases if name.startswith(f"{instance}/")]
        return [str(self.databases.take(name)["name"]) for name in mine]

    def _add_backup(self, instance: str, kind: str, more: Json, source: Json | None = None) -> str:
        name = f"projects/{self.world.project}/backups/{self.world.new_id()}"
        self.backups[name] = {
            "kind": "sql#backup",
            "name": name,
            "instance": instance,
            "type": kind,
            "state": "SUCCESSFUL",
            "backupInterval": {"startTime": self.world.stamp(), "endTime": self.world.stamp()},
            "instanceSettings": copy.deepcopy(source or self.instances[instance]),
            **{key: value for key, value in more.items() if value},
        }
        held = (one for one in self.databases.values() if one["instance"] == instance)
        self.backed_up[name] = [str(one["name"]) for one in held]
        return name

    def _follow(self, replica: Json, primary: str) -> None:
        replica["instanceType"] = "READ_REPLICA_INSTANCE"
        replica["masterInstanceName"] = f"{self.world.project}:{primary}"
        self.instances[primary].setdefault("replicaNames", []).append(replica["name"])

    def _instance(self, call: Call) -> Json:
        name = call.params["instance"]
        if name not in self.instances:
            raise Refused(404, "The Cloud SQL instance does not exist.", reason="instanceDoesNotExist")
        return self.instances[name]


def void(_: object) -> None:
    """For an effect with a value that no one wants."""
