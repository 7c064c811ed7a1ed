"""Cloud Build v1: triggers. Global and regional ones are separate lists; a trigger has no etag and no way back.

Source: the descriptions in the discovery document cloudbuild.v1, and
https://cloud.google.com/build/docs/locations (each region has triggers of its own; ``global`` is one of them).
"""

from typing import Any

from tests.emulators.google.refusing import Refused
from tests.emulators.google.world import Call, Json, Service, World, route

_OURS = ("id", "createTime", "resourceName")


class Build(Service):
    """Triggers by ``projects/p/locations/l/triggers/<id>``."""

    api = "cloudbuild"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.triggers = self.shelf("triggers")

    def plant_trigger(self, location: str, name: str, **fields: Any) -> str:
        """A trigger; returns its id."""
        return str(self._add(f"projects/{self.world.project}/locations/{location}", {"name": name, **fields})["id"])

    @route("cloudbuild.projects.locations.list", "cloudbuild.locations.list")
    def list_locations(self, call: Call) -> Json:
        return self.world.list_locations(call)

    @route("cloudbuild.projects.locations.triggers.list", "cloudbuild.builds.list")
    def list_all(self, call: Call) -> Json:
        return self.world.page(self.triggers.listed(call, f"{call.path}/"), call, "triggers")

    @route("cloudbuild.projects.locations.triggers.get", "cloudbuild.builds.get")
    def get(self, call: Call) -> Json:
        return self._trigger(call)

    @route("cloudbuild.projects.locations.triggers.create", "cloudbuild.builds.create")
    def create(self, call: Call) -> Json:
        """The name is unique within the project. Source: the description of BuildTrigger.name."""
        if any(trigger["name"] == call.body.get("name") for trigger in self.triggers.values()):
            raise Refused(409, "trigger already exists", status="ALREADY_EXISTS", reason="alreadyExists")
        return self._add(call.path.removesuffix("/triggers"), call.body)

    @route("cloudbuild.projects.locations.triggers.patch", "cloudbuild.builds.update")
    def patch(self, call: Call) -> Json:
        trigger = self._trigger(call)
        mask = [path for path in call.one("updateMask").split(",") if path]
        given = {key: value for key, value in call.body.items() if key not in _OURS}
        for key in mask or given:
            trigger.pop(key, None)
            if given.get(key) not in (None, False, "", [], {}):
                trigger[key] = given[key]
        return trigger

    @route("cloudbuild.projects.locations.triggers.delete", "cloudbuild.builds.update")
    def delete(self, call: Call) -> Json:
        self.triggers.take(self._trigger(call)["resourceName"])
        return {}

    def _add(self, parent: str, fields: Json) -> Json:
        number = int(self.world.new_id())
        identity = f"{number:08x}-0000-4000-8000-{number:012x}"
        full = f"{parent}/triggers/{identity}"
        self.triggers[full] = {
            **{key: value for key, value in fields.items() if key not in _OURS and value not in (False, "", [], {})},
            "id": identity,
            "createTime": self.world.stamp(),
            "resourceName": full,
        }
        return self.triggers[full]

    def _trigger(self, call: Call) -> Json:
        """By its id, or by its name.

        Source: https://cloud.google.com/build/docs/api/reference/rest/v1/projects.triggers
        """
        parent, short = call.path.rsplit("/triggers/", 1)
        for full, trigger in self.triggers.items():
            if full.startswith(f"{parent}/triggers/") and short in (trigger["id"], trigger["name"]):
                return trigger
        raise Refused(404, "Requested entity was not found.")
