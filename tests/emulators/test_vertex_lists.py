"""Lists of Vertex AI's endpoint: filters, pages, read masks, regions."""

import pytest
from google.api_core import exceptions as api
from google.cloud.aiplatform_v1 import JobState

from tests.emulators.vertex import VertexEmulator
from tests.emulators.vertex_asking import MakeClient
from tests.emulators.vertex_jobs import (
    PARENT,
    create,
    make_job,
    wait_for_log,
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "abcd"),
        ('display_name="a"', "a"),
        ('display_name!="a"', "bcd"),
        ('display_name:"*"', "abcd"),
        ('display_name:"a*"', "a"),
        ('state="JOB_STATE_RUNNING"', "b"),
        ('state!="JOB_STATE_RUNNING"', "acd"),
        ("labels.team=red", "ab"),
        ('labels.team="red"', "ab"),
        ("labels.team:*", "abc"),
        ("NOT labels.team:*", "d"),
        ('labels.team=red AND state="JOB_STATE_RUNNING"', "b"),
        ('display_name="d" OR labels.team=blue', "cd"),
        ("labels.team=red AND display_name=a OR display_name=c", "a"),  # OR binds tighter: https://google.aip.dev/160
        ("(labels.team=red AND display_name=a) OR display_name=c", "ac"),
        ('create_time>="2020-01-01T00:00:00Z"', "abcd"),
        ('create_time<"2020-01-01T00:00:00+02:00"', ""),
        ('labels.other="red"', ""),
    ],
)
def test_filter_keeps_what_it_says(idle_vertex: VertexEmulator, make_client: MakeClient, text: str, kept: str) -> None:
    """By every documented field and operator."""
    client = make_client(idle_vertex)
    for name, labels in (("a", {"team": "red"}), ("b", {"team": "red"}), ("c", {"team": "blue"}), ("d", {})):
        created = create(client, make_job(display_name=name, labels=labels))
        if name == "b":
            idle_vertex.core.move(created.name, JobState.JOB_STATE_RUNNING)
    jobs = client.list_custom_jobs({"parent": PARENT, "filter": text})
    assert "".join(sorted(job.display_name for job in jobs)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "colour=red",
        'state="RUNNING"',
        'state>"JOB_STATE_RUNNING"',
        "display_name>a",
        "labels.team!=red",
        "labels.team:red",
        'create_time>"yesterday"',
        'create_time>"2020-01-01T00:00:00"',
        "labels.team=red AND",
        "(labels.team=red",
        "labels.team=red labels.team=blue",
    ],
)
def test_filter_that_is_not_documented_is_refused(
    idle_vertex: VertexEmulator, transport: str, make_client: MakeClient, text: str
) -> None:
    """So that a filter which only the emulator understood never ships."""
    with pytest.raises(api.BadRequest, match="Invalid filter"):
        make_client(idle_vertex, transport).list_custom_jobs({"parent": PARENT, "filter": text})


def test_pages_hold_every_job_once(idle_vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """Also when one is created between two pages."""
    client = make_client(idle_vertex, transport)
    names = [create(client, make_job()).name for _ in range(7)]
    pages = client.list_custom_jobs({"parent": PARENT, "page_size": 3}).pages
    sizes, seen = [], []
    for page in pages:
        sizes.append(len(page.custom_jobs))
        seen += [job.name for job in page.custom_jobs]
        create(client, make_job())
    assert sizes == [3, 3, 1]
    assert sorted(seen) == sorted(names)


def test_token_of_another_filter_is_refused(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """A page token is good for the request that it came from alone.

    Source: https://google.aip.dev/158
    """
    client = make_client(idle_vertex)
    for _ in range(2):
        create(client, make_job())
    token = client.list_custom_jobs({"parent": PARENT, "page_size": 1}).next_page_token
    for wrong in ({"page_token": token, "filter": "labels.a:*"}, {"page_token": "x"}):
        with pytest.raises(api.BadRequest):
            client.list_custom_jobs({"parent": PARENT, **wrong})


def test_read_mask_leaves_out_the_rest(idle_vertex: VertexEmulator, transport: str, make_client: MakeClient) -> None:
    """The name is always there; a field that a job has not is refused."""
    client = make_client(idle_vertex, transport)
    create(client, make_job(labels={"a": "b"}))
    (job,) = client.list_custom_jobs({"parent": PARENT, "read_mask": "labels,state"})
    assert job.name
    assert (dict(job.labels), job.state, job.display_name) == ({"a": "b"}, JobState.JOB_STATE_QUEUED, "")
    assert not job.job_spec.worker_pool_specs
    with pytest.raises(api.BadRequest):
        client.list_custom_jobs({"parent": PARENT, "read_mask": "colour"})


def test_jobs_of_another_region_are_not_listed(idle_vertex: VertexEmulator, make_client: MakeClient) -> None:
    """A list is of one location."""
    client = make_client(idle_vertex)
    create(client, make_job())
    elsewhere = PARENT.replace("us-central1", "europe-west4")
    assert list(client.list_custom_jobs(parent=elsewhere)) == []


def test_a_deleted_job_is_gone_and_its_processes_too(vertex: VertexEmulator, make_client: MakeClient) -> None:
    """Delete answers an operation that is done."""
    client = make_client(vertex)
    created = create(client, make_job("import time; print('up', flush=True); time.sleep(60)"))
    wait_for_log(vertex, created.name, "up")
    client.delete_custom_job(name=created.name.replace("123456789012", "demo-project")).result(timeout=10)
    with pytest.raises(api.NotFound):
        client.get_custom_job(name=created.name)
