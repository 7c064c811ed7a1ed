"""OBJECT_FINALIZE and OBJECT_DELETE notifications, pushed as Pub/Sub pushes them.

Source: https://cloud.google.com/storage/docs/pubsub-notifications (attributes, payload) and
https://cloud.google.com/pubsub/docs/push (envelope, which answers acknowledge).
"""

import base64
import itertools
import queue
import threading
import time
from typing import Any

import httpx
import msgspec

from tests.emulators.gcs_resources import StoredObject, to_time

_ACKNOWLEDGED = (102, 200, 201, 202, 204)


class PushConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a bucket's notifications go."""

    bucket: str
    push_url: str
    event_types: tuple[str, ...] = ("OBJECT_FINALIZE",)
    object_name_prefix: str = ""
    bearer: str = ""  # sent as Authorization, where the push subscription has an identity
    subscription: str = "projects/local/subscriptions/switchyard"


class Pusher:
    """Delivers in a thread of its own, in order, at least once: an answer that is no acknowledgement is tried again."""

    def __init__(self, *, attempts: int = 5) -> None:
        self._attempts = attempts
        self._configs: list[PushConfig] = []
        self._ids = itertools.count(1)
        self._queue: queue.Queue[tuple[PushConfig, dict[str, Any]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self.delivered = 0
        self.given_up = 0

    def add(self, config: PushConfig) -> None:
        """Switches notifications on."""
        self._configs.append(config)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gcs-push", daemon=True)
            self._thread.start()

    def clear(self) -> None:
        """Switches all notifications off."""
        self._configs.clear()

    def close(self) -> None:
        """Ends the thread; what is not delivered yet is dropped."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=10)

    def notify(self, event: str, stored: StoredObject, resource: dict[str, Any], overwrote: int | None = None) -> None:
        """Queues a notification for every configuration that wants it."""
        for number, config in enumerate(self._configs, start=1):
            wanted = config.bucket == stored.bucket and stored.name.startswith(config.object_name_prefix)
            if wanted and event in config.event_types:
                attributes = {
                    "notificationConfig": f"projects/_/buckets/{stored.bucket}/notificationConfigs/{number}",
                    "eventType": event,
                    "payloadFormat": "JSON_API_V1",
                    "bucketId": stored.bucket,
                    "objectId": stored.name,
                    "objectGeneration": str(stored.generation),
                    "eventTime": to_time(stored.updated),
                }
                if overwrote:
                    attributes["overwroteGeneration"] = str(overwrote)
                self._queue.put((config, self._to_envelope(config, attributes, resource)))

    def _to_envelope(self, config: PushConfig, attributes: dict[str, str], resource: dict[str, Any]) -> dict[str, Any]:
        message_id, now = str(next(self._ids)), to_time(time.time())
        message = {
            "attributes": attributes,
            "data": base64.b64encode(msgspec.json.encode(resource)).decode(),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": now,
            "publish_time": now,
        }
        return {"message": message, "subscription": config.subscription}

    def _run(self) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            while (item := self._queue.get()) is not None:
                config, envelope = item
                headers = {"Authorization": f"Bearer {config.bearer}"} if config.bearer else {}
                for attempt in range(self._attempts):
                    try:
                        answer = client.post(config.push_url, json=envelope, headers=headers).status_code
                    except httpx.HTTPError:
                        answer = 0
                    if answer in _ACKNOWLEDGED:
                        self.delivered += 1
                        break
                    time.sleep(min(0.1 * 2**attempt, 2))  # Pub/Sub backs off between 100 ms and 60 s
                else:
                    self.given_up += 1
