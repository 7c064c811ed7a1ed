"""Runs training jobs on Vertex AI: the `Launcher` over the real job client, by gRPC or by REST.

Nothing here retries: the client's own retry is off, and a task retries `TryAgain`. Only one call is never repeated
before the jobs of its key have been listed: creating a job. It has no request id, and a second job is paid for.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud.aiplatform_v1 import JobServiceClient
from google.protobuf.field_mask_pb2 import FieldMask

from switchyard.clients.launchers.vertex.custom_job import to_custom_job
from switchyard.clients.launchers.vertex.errors import VENDOR_ERRORS, is_refusal, translate, translated
from switchyard.clients.launchers.vertex.states import read_state, to_report
from switchyard.core.errors import BadSetup, NotFound, TryAgain
from switchyard.core.runs.jobs import KEY_LABEL, JobOrder, JobReport
from switchyard.core.runs.walk import choose_job

_NAME = re.compile(r"projects/[^/]+/locations/(?P<region>[^/]+)/customJobs/[^/]+")
_PAGE_SIZE = 100
# A list needs only these fields of a job: its spec holds all its arguments. They are top-level names: whether the
# service takes paths into a message is not documented.
_LISTED = FieldMask(
    paths=["name", "display_name", "state", "create_time", "start_time", "end_time", "update_time", "error", "labels"]
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class VertexSite(msgspec.Struct, frozen=True, kw_only=True):
    """Where jobs run, as the settings say."""

    project_id: str
    region: str
    trainer_image: str
    service_account: str = ""
    api_endpoint: str = ""  # host:port, or with a scheme; empty: the region's own
    transport: Literal["grpc", "rest"] = "grpc"


class VertexLauncher:
    """Runs jobs as Vertex AI CustomJobs of one project, in the site's region. Safe for several threads.

    Known jobs of other regions are still read and cancelled there.

    Args:
        credentials: None: application default credentials, or none at all where the endpoint is on this machine.
        timeout_s: seconds that one call may take.
        relist_delays_s: seconds to wait before each look for a job after an error of its create: a LIST may lag behind
            a create.
    """

    def __init__(
        self,
        site: VertexSite,
        *,
        credentials: Credentials | None = None,
        timeout_s: float = 30.0,
        relist_delays_s: Sequence[float] = (0.5, 1.0, 2.0),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._site = site
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._relist_delays_s = relist_delays_s
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[str, JobServiceClient] = {}
        self._submitting: set[str] = set()
        self._submitted = threading.Condition()
        if site.transport == "grpc" and site.api_endpoint.startswith("http://"):
            raise BadSetup(
                f"VERTEX_API_ENDPOINT must speak TLS for gRPC (host:port); got {site.api_endpoint!r}. For plain http "
                "set VERTEX_TRANSPORT=rest"
            )

    def submit(self, key: str, order: JobOrder) -> JobReport:
        """See `Launcher.submit`. Raises: BadRequest: what cannot run there; BadSetup: permissions, quota."""
        job = to_custom_job(key, order, image=self._site.trainer_image, service_account=self._site.service_account)
        with self._alone(key):
            known = self._list_key(key)
            return self._keep_oldest(known) if known else self._create(key, job)

    def report(self, job_names: Sequence[str]) -> dict[str, JobReport]:
        """See `Launcher.report`. Makes one GET for each job.

        Raises:
            BadSetup: jobs are in states that this version does not know; the others were asked too.
        """
        reports, problems = {}, []
        for name in job_names:
            match = _NAME.fullmatch(name)
            if match is None:
                continue  # another launcher's job
            try:
                with translated(f"read job {name}", self._site.project_id):
                    job = self._client(match["region"]).get_custom_job(name=name, retry=None, timeout=self._timeout_s)
                reports[name] = self._to_report(job)
            except NotFound:
                continue
            except BadSetup as err:
                problems.append(str(err))
        if problems:
            raise BadSetup("; ".join(problems))
        return reports

    def list(self, labels: Mapping[str, str], since: datetime, *, beside: str = "") -> list[JobReport]:
        """See `Launcher.list`: the jobs of one region, one LIST call for every 100.

        Another launcher's name in `beside` is ignored.

        A job in a state that this version does not know is left out: it must not hide the others. `report` names it.
        """
        reports = []
        match = _NAME.fullmatch(beside)
        for job in self._read_pages(labels, since, region=match["region"] if match else self._site.region):
            try:
                reports.append(self._to_report(job))
            except BadSetup:
                continue
        return sorted(reports, key=lambda report: (report.created_at, report.job_name))

    def cancel(self, job_name: str) -> None:
        """See `Launcher.cancel`."""
        match = _NAME.fullmatch(job_name)
        if match is None:
            raise NotFound(f"a Vertex AI job is called projects/.../locations/.../customJobs/<id>; got {job_name!r}")
        client = self._client(match["region"])
        with translated(f"cancel job {job_name}", self._site.project_id):
            try:
                client.cancel_custom_job(name=job_name, retry=None, timeout=self._timeout_s)
            except api.BadRequest:
                # FAILED_PRECONDITION: it has ended, perhaps this very moment. Anything else is an error.
                job = client.get_custom_job(name=job_name, retry=None, timeout=self._timeout_s)
                if not read_state(job).ended:
                    raise

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        with self._lock:
            for client in self._clients.values():
                client.transport.close()
            self._clients.clear()

    def _to_parent(self, region: str) -> str:
        return f"projects/{self._site.project_id}/locations/{region}"

    def _create(self, key: str, job: Any) -> JobReport:
        """Creates the job of `key`, of which none was listed."""
        doing = f"submit the job with key {key} in {self._site.region}"
        client = self._client(self._site.region)
        try:
            parent = self._to_parent(self._site.region)
            created = client.create_custom_job(parent=parent, custom_job=job, retry=None, timeout=self._timeout_s)
        except VENDOR_ERRORS as err:
            error = translate(err, doing, self._site.project_id)
            if not is_refusal(err):
                return self._adopt(key, error)
            if isinstance(error, NotFound):
                raise BadSetup(f"{error}; check GCP_PROJECT_ID and GCP_REGION") from err
            raise error from err
        # Two submits at once have both seen no job: both now see the older one and keep that.
        return self._keep_oldest([*self._list_key(key), self._to_report(created)])

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Lets threads submit one key one after another. Processes need no such lock: see `_create`."""
        with self._submitted:
            self._submitted.wait_for(lambda: key not in self._submitting)
            self._submitting.add(key)
        try:
            yield
        finally:
            with self._submitted:
                self._submitting.discard(key)
                self._submitted.notify_all()

    def _adopt(self, key: str, error: Exception) -> JobReport:
        """Returns the job of `key` after a create that may have made one; never creates another."""
        for delay_s in self._relist_delays_s:
            time.sleep(delay_s)
            known = self._list_key(key)
            if known:
                return self._keep_oldest(known)
        raise TryAgain(
            f"{error}. No job with key {key} is listed in {self._site.region} "
            f"{sum(self._relist_delays_s):g} s later; the next submit looks again before it creates one"
        ) from error

    def _keep_oldest(self, reports: Sequence[JobReport]) -> JobReport:
        oldest, younger = choose_job({report.job_name: report for report in reports}.values())
        for report in younger:
            with suppress(NotFound):
                self.cancel(report.job_name)
        return oldest

    def _list_key(self, key: str) -> Sequence[JobReport]:
        """Returns the jobs of one key. An unknown state is an error here: it must not look like no job."""
        return [self._to_report(job) for job in self._read_pages({KEY_LABEL: key}, None, region=self._site.region)]

    def list_old(self, labels: Mapping[str, str], before: datetime, limit: int) -> Sequence[JobReport]:
        """Returns none: Vertex AI keeps its jobs, and a list of them has an index."""
        return []

    def prune(self, job_names: Sequence[str]) -> int:
        """Removes nothing, as `list_old` lists none."""
        return 0

    def _read_pages(self, labels: Mapping[str, str], since: datetime | None, *, region: str) -> Iterator[Any]:
        terms = [f'labels.{name}="{value}"' for name, value in labels.items()]
        if since is not None:
            terms.append(f'create_time>="{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"')
        request = {
            "parent": self._to_parent(region),
            "filter": " AND ".join(terms),
            "page_size": _PAGE_SIZE,
            "read_mask": _LISTED,
        }
        with translated(f"list the jobs in {region}", self._site.project_id):
            client = self._client(region)
            yield from client.list_custom_jobs(request=request, retry=None, timeout=self._timeout_s)

    def _to_report(self, job: Any) -> JobReport:
        return to_report(job, project_id=self._site.project_id, now=self._clock())

    def _client(self, region: str) -> JobServiceClient:
        """Returns the client of a region: each has its own endpoint, and answers only for its own jobs."""
        with self._lock:
            if region not in self._clients:
                endpoint = self._site.api_endpoint or f"{region}-aiplatform.googleapis.com"
                if self._site.transport == "grpc":
                    endpoint = endpoint.removeprefix("https://")
                with translated(f"connect to {endpoint}", self._site.project_id):
                    self._clients[region] = JobServiceClient(
                        credentials=self._credentials or _choose_credentials(endpoint),
                        transport=self._site.transport,
                        client_options={"api_endpoint": endpoint},
                    )
            return self._clients[region]


def _choose_credentials(endpoint: str) -> Credentials | None:
    """Returns None to let the client find the application default. An endpoint on this machine needs none."""
    return AnonymousCredentials() if is_on_this_machine(endpoint) else None


def is_on_this_machine(endpoint: str) -> bool:
    """Returns true for an endpoint that stands in for Google's, for example in tests; empty is the region's own."""
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname in _LOOPBACK
