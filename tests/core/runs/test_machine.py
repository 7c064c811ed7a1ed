"""The machine that a run asks for: its limits, its defaults, and its flags."""

import argparse

import msgspec
import pytest

from switchyard.core.errors import BadRequest
from switchyard.core.runs.flags import add_flags, read_flags, to_flags
from switchyard.core.runs.machine import MachineSpec


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flow's parameters with a machine among them."""

    epochs: int = 12
    wait: bool = True
    machine: MachineSpec = MachineSpec()


def parse(arguments: list[str]) -> Parameters:
    parser = argparse.ArgumentParser()
    add_flags(parser, Parameters)
    return read_flags(vars(parser.parse_args(arguments)), Parameters)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"machine_type": "E2"}, "machine_type"),
        ({"machine_type": "big"}, "machine_type"),
        ({"accelerator_type": "NVIDIA_T4"}, "accelerator_type"),
        ({"accelerator_count": 1}, "must be set together"),
        ({"accelerator_type": "NVIDIA_L4"}, "must be set together"),
        ({"accelerator_count": 17}, "accelerator_count"),
        ({"replica_count": 0}, "replica_count"),
        ({"boot_disk_size_gb": 99}, "boot_disk_size_gb"),
        ({"scheduling": "preemptible"}, "scheduling"),
        ({"max_wait_s": -1}, "max_wait_s"),
        ({"service_account": "me@example.com"}, "service_account"),
        ({"network": "projects/demo-project/global/networks/vpc"}, "network"),
        ({"tensorboard": "1"}, "tensorboard"),
        ({"persistent_resource": "Ready"}, "persistent_resource"),
        ({"kms_key": "my-key"}, "kms_key"),
        ({"labels": "team"}, "labels"),
        ({"labels": "Team=search"}, "labels"),
        ({"labels": "team=search, user=ada"}, "labels"),
        ({"labels": "team=a,team=b"}, "each label once.*got team in"),
        ({"labels": "team=a,switchyard-key=b"}, "got switchyard-key in"),
        ({"machine": "x"}, "machine"),
    ],
)
def test_what_no_machine_is_is_refused_by_its_field(given: dict[str, object], said: str) -> None:
    """Before anything is submitted."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given, MachineSpec)


def test_every_field_is_described_and_has_a_default() -> None:
    """The form and --help are made of it."""
    (schema,) = msgspec.json.schema_components([MachineSpec])[1].values()
    for name, field in schema["properties"].items():
        assert field.get("description"), name
        assert "default" in field, name


def test_a_machines_flags_bear_its_name_once() -> None:
    """--machine-type, not --machine-machine-type."""
    parsed = parse(["--machine-type=n1-highmem-8", "--machine-scheduling=spot", "--no-wait", "--epochs=3"])
    assert parsed == Parameters(
        epochs=3, wait=False, machine=MachineSpec(machine_type="n1-highmem-8", scheduling="spot")
    )
    assert parse([]) == Parameters()


def test_flags_turn_back_into_the_machine() -> None:
    """What to_flags writes, read_flags reads."""
    machine = MachineSpec(
        accelerator_type="NVIDIA_TESLA_T4", accelerator_count=2, restarts="never", labels="team=search,cost-center="
    )
    asked = Parameters(wait=False, machine=machine)
    assert parse(to_flags(asked)) == asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--machine-replica-count=0"], "--machine-replica-count"),
        (["--machine-type=big"], "--machine-type"),
        (["--machine-accelerator-count=2"], "must be set together"),
    ],
)
def test_a_wrong_flag_is_named_as_it_was_typed(arguments: list[str], said: str) -> None:
    """Not by the field's path."""
    with pytest.raises(BadRequest, match=said):
        parse(arguments)


def test_help_lists_a_machines_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """With their choices and defaults."""
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--machine-type TYPE" in shown
    assert "--machine-scheduling {standard,spot,flex_start}" in shown
    assert "(default: n1-standard-4)" in shown
