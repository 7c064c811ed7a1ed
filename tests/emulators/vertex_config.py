"""What the project and the service behind a Vertex AI emulator are like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.cloud.aiplatform_v1.types import JobState

from tests.emulators.vertex_rules import PersistentResource


@dataclass(kw_only=True)
class VertexConfig:
    """Times are in seconds. What no source says is marked so, and is here to be changed."""

    project: str = "demo-project"
    project_number: str = "123456789012"
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)  # image URI -> its entrypoint
    passed_on: Mapping[str, str] = field(default_factory=dict)  # environment that the machine gives each container
    new_job_state: int | None = None  # jobs take this state at once and run nothing; None: they run their command
    pending_s: float = 0.05
    queue_poll_s: float = 0.05
    grace_s: float = 30.0
    timeout_state: JobState = JobState.JOB_STATE_CANCELLED
    # The service page (see vertex_run): the error appears "about one minute after a job ends".
    error_delay_s: float = 0.0
    # Whether a LIST sees a job that was created just now is not documented.
    list_lag_s: float = 0.0
    # The largest page is not documented; a larger one is cut, as https://google.aip.dev/158 says.
    max_page_size: int = 100
    honours_read_mask: bool = True
    # Source: https://cloud.google.com/vertex-ai/docs/quotas (requests a minute, project and region).
    requests_per_minute: int = 600
    submissions_per_minute: int = 60  # "job or LRO submission": create and delete
    training_cpus: int = 10_000  # custom_model_training_cpus
    persistent_resources: Mapping[str, PersistentResource] = field(default_factory=dict)
    requires_token: bool = False
