"""Cloud Run v2: services, their revisions and policies, jobs, long operations.

Source, where a rule names no other: the descriptions in the discovery document run.v2 and
https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services
"""

import copy
import uuid
from typing import Any

from tests.emulators.google.policies import Policies
from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, route

_OURS = (  # output only: what a client sends of them is not taken
    "name", "uid", "generation", "createTime", "updateTime", "etag", "latestReadyRevision", "latestCreatedRevision",
    "uri", "urls", "terminalCondition", "reconciling", "observedGeneration", "creator", "lastModifier", "conditions",
    "trafficStatuses", "deleteTime", "expireTime", "satisfiesPzs", "executionCount", "latestCreatedExecution",
    "threatDetectionEnabled",
)  # fmt: skip


class Run(Service):
    """Services and jobs by ``projects/p/locations/l/services/s``."""

    api = "run"

    def __init__(self, world: World, policies: Policies) -> None:
        super().__init__(world)
        self.policies = policies
        self.services, self.jobs, self.revisions = self.shelf("services"), self.shelf("jobs"), self.shelf("revisions")
        self.pools = self.shelf("pools")
        self.operations: dict[str, Json] = {}

    # What a test plants.

    def plant_service(self, location: str, name: str, **fields: Any) -> str:
        """A service that runs; returns its name in full."""
        full = f"projects/{self.world.project}/locations/{location}/services/{name}"
        self._make(full, copy.deepcopy(fields))
        return full

    def plant_job(self, location: str, name: str, **fields: Any) -> str:
        """A job; returns its name in full."""
        full = f"projects/{self.world.project}/locations/{location}/jobs/{name}"
        self.jobs[full] = {**copy.deepcopy(fields), **self._own(full)}
        return full

    def plant_pool(self, location: str, name: str, **fields: Any) -> str:
        """A worker pool; returns its name in full."""
        full = f"projects/{self.world.project}/locations/{location}/workerPools/{name}"
        self.pools[full] = {**copy.deepcopy(fields), **self._own(full)}
        return full

    @route("run.projects.locations.list", "run.locations.list")
    def list_locations(self, call: Call) -> Json:
        return self.world.list_locations(call)

    # Services.

    @route("run.projects.locations.services.get", "run.services.get")
    def get(self, call: Call) -> Json:
        return self._service(call.path)

    @route("run.projects.locations.services.list", "run.services.list")
    def list_all(self, call: Call) -> Json:
        return self.world.page(self.services.listed(call, call.path.removesuffix("services")), call, "services")

    @route("run.projects.locations.services.create", "run.services.create")
    def create(self, call: Call) -> Json:
        """It is there at once, and not ready. Source: the description of Service.reconciling."""
        full = f"{call.path}/{call.one('serviceId')}"
        if full in self.services:
            said = f"Resource '{call.one('serviceId')}' already exists."
            raise Refused(409, said, status="ALREADY_EXISTS", reason="alreadyExists")
        if not call.body.get("template", {}).get("containers"):
            raise Refused(400, "template.containers: at least one container is required")
        self._check_act_as(call.body)
        self._make(full, call.body)
        self.services[full]["reconciling"] = True

        def ready() -> None:
            self.services[full].pop("reconciling", None)

        def failed() -> None:
            ready()
            self.services[full]["terminalCondition"] = {"type": "Ready", "state": "CONDITION_FAILED"}

        return self._begin(call, full, ready, failed)

    @route("run.projects.locations.services.patch", "run.services.update")
    def patch(self, call: Call) -> Json:
        service = self._service(call.path)
        self._check_etag(service, call.body.get("etag", ""))
        self._check_act_as(service)
        given = {key: value for key, value in call.body.items() if key not in _OURS}
        mask = [path for path in call.one("updateMask").split(",") if path] or list(given)
        if unknown := [path for path in mask if path not in self._fields()]:
            raise Refused(400, f"Invalid update mask: {', '.join(unknown)}")
        self._check_revision(service, given.get("template", {}))
        before = copy.deepcopy(service)
        for key in mask:
            service.pop(key, None)
            if given.get(key) not in (None, {}, [], ""):
                service[key] = given[key]
        service.update(self._stamped(service), reconciling=True)
        if service.get("template") != before.get("template"):
            self._add_revision(call.path)

        def ready() -> None:
            if call.path in self.services:
                self.services[call.path].pop("reconciling", None)
                self.services[call.path]["terminalCondition"] = {"type": "Ready", "state": "CONDITION_SUCCEEDED"}

        def failed() -> None:
            service.clear()
            service.update(before)

        return self._begin(call, call.path, ready, failed)

    @route("run.projects.locations.services.delete", "run.services.delete")
    def delete(self, call: Call) -> Json:
        self._check_etag(self._service(call.path), call.one("etag"))
        if call.one("validateOnly") == "true":
            return self._begin(call, call.path, lambda: None)

        def gone() -> None:
            if call.path in self.services:
                self.services.take(call.path)
                for name in [name for name in self.revisions if name.startswith(f"{call.path}/")]:
                    self.revisions.pop(name)
                self.policies.forget(f"run/{call.path}")

        return self._begin(call, call.path, gone)

    @route("run.projects.locations.services.revisions.list", "run.revisions.list")
    def list_revisions(self, call: Call) -> Json:
        return self.world.page(self.revisions.listed(call, f"{call.path}/"), call, "revisions")

    @route("run.projects.locations.services.getIamPolicy", "run.services.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        self._service(call.path)
        return self.policies.answer_get(f"run/{call.path}", call)

    @route("run.projects.locations.services.setIamPolicy", "run.services.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        self._service(call.path)
        return self.policies.write(f"run/{call.path}", call.body["policy"])

    @route("run.projects.locations.jobs.getIamPolicy", "run.jobs.getIamPolicy")
    def get_job_policy(self, call: Call) -> Json:
        self._job(call.path)
        return self.policies.answer_get(f"run/{call.path}", call)

    @route("run.projects.locations.jobs.setIamPolicy", "run.jobs.setIamPolicy")
    def set_job_policy(self, call: Call) -> Json:
        self._job(call.path)
        return self.policies.write(f"run/{call.path}", call.body["policy"])

    @route("run.projects.locations.services.testIamPermissions")
    @route("run.projects.locations.jobs.testIamPermissions")
    def test(self, call: Call) -> Json:
        return self.world.test_permissions(call.body.get("permissions", ()))

    # Jobs: a patch has no mask, and takes the whole job.

    @route("run.projects.locations.jobs.get", "run.jobs.get")
    def get_job(self, call: Call) -> Json:
        return self._job(call.path)

    @route("run.projects.locations.jobs.list", "run.jobs.list")
    def list_jobs(self, call: Call) -> Json:
        return self.world.page(self.jobs.listed(call, call.path.removesuffix("jobs")), call, "jobs")

    @route("run.projects.locations.jobs.patch", "run.jobs.update")
    def patch_job(self, call: Call) -> Json:
        job = self._job(call.path)
        self._check_etag(job, call.body.get("etag", ""))
        self._check_act_as(job)
        before = copy.deepcopy(job)
        kept = {key: value for key, value in job.items() if key in _OURS}
        job.clear()
        job.update({key: value for key, value in call.body.items() if key not in _OURS}, **kept)
        job.update(self._stamped(job))

        def failed() -> None:
            job.clear()
            job.update(before)

        return self._begin(call, call.path, lambda: None, failed)

    @route("run.projects.locations.workerPools.list", "run.workerpools.list")
    def list_pools(self, call: Call) -> Json:
        return self.world.page(self.pools.listed(call, call.path.removesuffix("workerPools")), call, "workerPools")

    # Long operations. Source: https://google.aip.dev/151

    @route("run.projects.locations.operations.get", "run.operations.get")
    def get_operation(self, call: Call) -> Json:
        if call.path not in self.operations:
            raise Refused(404, f"Operation {call.path} not found")
        return self.operations[call.path]

    @route("run.projects.locations.operations.list", "run.operations.list")
    def list_operations(self, call: Call) -> Json:
        """Source: the descriptions of `filter` and of the path in the discovery document."""
        place, wanted = call.path.removesuffix("/operations"), call.one("filter")
        if wanted not in ("", "done:true", "done:false"):
            raise Refused(400, f"Invalid filter: {wanted}")
        found = [
            operation
            for name, operation in self.operations.items()
            if name.startswith(f"{place}/operations/") and wanted in ("", f"done:{str(operation['done']).lower()}")
        ]
        return self.world.page(found, call, "operations")

    def _begin(self, call: Call, full: str, effect: Any, undo: Any = None) -> Json:
        name = f"{full.split('/services/')[0].split('/jobs/')[0]}/operations/{self.world.new_id()}"
        kind = "Job" if "/jobs/" in full else "Service"
        about = {"@type": f"type.googleapis.com/google.cloud.run.v2.{kind}", "name": full}
        self.operations[name] = {"name": name, "done": False, "metadata": about}

        def done() -> None:
            if call.fault.error:
                if undo:
                    undo()
                self.operations[name].update(done=True, error={"code": 13, "message": call.fault.error})
            else:
                effect()
                self.operations[name].update(done=True, response=about)

        self.world.later(done)
        return self.operations[name]

    def _make(self, full: str, fields: Json) -> None:
        """A new service: another uid than one of the same name before."""
        place, short = full.split("/locations/")[1].split("/services/")
        self.services[full] = {
            "ingress": "INGRESS_TRAFFIC_ALL",
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
            **{key: value for key, value in fields.items() if key not in _OURS},
            **self._own(full),
            "uri": f"https://{short}-{self.world.number}.{place}.run.app",
            "urls": [f"https://{short}-{self.world.number}.{place}.run.app"],
            "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED"},
        }
        self._add_revision(full)

    def _own(self, full: str) -> Json:
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, full + self.world.new_id()))
        stamp = self.world.stamp()
        etag = f'"{self.world.new_etag()}"'
        return {
            "name": full,
            "uid": identity,
            "generation": "1",
            "createTime": stamp,
            "updateTime": stamp,
            "etag": etag,
        }

    def _stamped(self, resource: Json) -> Json:
        return {
            "generation": str(int(resource["generation"]) + 1),
            "updateTime": self.world.stamp(),
            "etag": f'"{self.world.new_etag()}"',
        }

    def _add_revision(self, full: str) -> None:
        service = self.services[full]
        short = service.get("template", {}).get("revision") or f"{full.split('/')[-1]}-{self.world.new_id()}"
        name = f"{full}/revisions/{short}"
        self.revisions[name] = {
            "name": name,
            "service": full,
            "createTime": self.world.stamp(),
            "uid": self.world.new_id(),
            **{
                key: copy.deepcopy(service["template"][key])
                for key in ("containers", "volumes", "serviceAccount")
                if service.get("template", {}).get(key)
            },
        }
        service["latestReadyRevision"] = service["latestCreatedRevision"] = name

    def _check_revision(self, service: Json, template: Json) -> None:
        """Refuses a changed template that names a revision that there is already.

        So a template that was sent back with the name of its revision is refused. Source:
        https://github.com/googleapis/google-cloud-python/issues/14259 (the same words).
        """
        name = template.get("revision")
        same = {**template, "revision": ""} == {**service.get("template", {}), "revision": ""}
        if name and f"{service['name']}/revisions/{name}" in self.revisions and not same:
            said = f"Revision named '{name}' with different configuration already exists."
            raise Refused(409, said, status="ALREADY_EXISTS", reason="alreadyExists")

    def _check_act_as(self, resource: Json) -> None:
        """Refuses a caller who may not act as the service's account.

        Source: https://cloud.google.com/run/docs/reference/iam/roles#additional-configuration
        """
        template = resource.get("template", {})
        account = template.get("template", template).get("serviceAccount", "")
        if account:
            self.world.check_allowed("iam.serviceAccounts.actAs", account, "run")

    @staticmethod
    def _check_etag(resource: Json, etag: str) -> None:
        """Source: https://google.aip.dev/154: a mismatch is ABORTED."""
        if etag and etag != resource["etag"]:
            raise Refused(409, f"Conflict for resource '{resource['name']}': the given etag is not the current one.")

    def _service(self, full: str) -> Json:
        if full not in self.services:
            place, short = full.split("/locations/")[-1].split("/services/")
            said = f"Resource '{short}' of kind 'SERVICE' in region '{place}' does not exist."
            raise Refused(404, said)
        return self.services[full]

    def _job(self, full: str) -> Json:
        if full not in self.jobs:
            raise Refused(404, f"Resource '{full.split('/')[-1]}' of kind 'JOB' does not exist.")
        return self.jobs[full]

    @staticmethod
    def _fields() -> set[str]:
        return {
            "scaling", "ingress", "template", "traffic", "labels", "annotations", "description", "launchStage",
            "binaryAuthorization", "invokerIamDisabled", "defaultUriDisabled", "customAudiences", "client",
            "clientVersion",
        }  # fmt: skip
