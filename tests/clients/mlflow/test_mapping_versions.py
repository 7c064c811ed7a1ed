"""The legacy database by each version of the mapping: version 1 as it always was, version 2 with every curve."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest

from switchyard.clients.mlflow.sqlite import SqliteTracking
from switchyard.core.backfill.mapped import to_first_digests_of, to_record
from switchyard.core.history.digest import to_digests
from switchyard.core.history.publication import FIRST_VERSIONS, Versions
from switchyard.core.mlflow.keys import CHARTED, SCALARS
from switchyard.core.mlflow.raw_run import Keys, RawRun
from tests.clients.mlflow.stores import find_fixture, make_sqlite

GOLDEN: Final = {
    "02fbff8700bf60d60b37d90b30fc3cdc": (
        "sha256:77b10560483c934f882403aa4138fbdc8ca976f6100d800e2c39a53926c468b2",
        "sha256:3c21447f89fcf7df7283b4033985a4666050f3a9d38e3f30df1b2f2173791946",
    ),
    "03eaa03779e5788d2a52968ad9e148cf": (
        "sha256:da0cecfbe407a2dc1e37f42bac22eca0095a437462ec7ba0581fa2fc77cafd35",
        "sha256:cdd5ae3feb6c9dd11ca1018d01d080d816d7a18684525a48d78825413d39d079",
    ),
    "04fa32e098c7ec310f16bc79f7e39be1": (
        "sha256:d0f09ec3d001a26f9f4cdf3fa1d0306effe2fd82001817a866f9f61b2cd02761",
        "sha256:9cf736e7c9f63fa913c4c55279d4f5ee0f3c28699caffd1951cf948004003b06",
    ),
    "08621b56e7f32df8145e3d1f27b3c560": (
        "sha256:8e175a9a36c8b7095e6232d6e648033625e6bb4d8beb013fdd1648e91554e19a",
        "sha256:c6a5d16195d18058f1cdebd4f174ecfddba1dcccea78a8542988900dd7ed5a36",
    ),
    "08be9bffe9fbb05f2c949dfabaec7330": (
        "sha256:d74d29cc6010dbba703a07ee634bc350e5a8e28e051eb0d1a82f3b74c27bcf8f",
        "sha256:c5607efaa9abebfcaf94ddfbb3d5ca89ccef8a9adc6351b57033b46a0838f130",
    ),
    "0bf8d36e888d6d5e3e594dcfccf46732": (
        "sha256:2e148d009e61bd851caea392532adfffd72ee75c005e1e068fdbb36e9c32244d",
        "sha256:04c6b0c510be55afba1e80a4cd4403c9dcd52c462173f6738347730eeb82eafe",
    ),
    "101b48cb8cece8e51f6272a3aaf4a574": (
        "sha256:b8d4e2e1ab1c9acff4a907cbf63f48c87da327459b8f1f6d9754f22ceb4defd1",
        "sha256:54c44fa14a8bca2fa5aec5000ab1dfa61ce869a2ed2f0d216fe9360a3f273a7f",
    ),
    "155314fad90c95e51bb7b4040186745d": (
        "sha256:a1cb668e0e6d297e2b007d1e8bebf6b5f5bb49f9d422a274f1e7e0e3aea5e150",
        "sha256:92354d37b70bb30f9c4bd46736de710c24644c485b391cf3ac023996362d7d43",
    ),
    "16fbebc3b597c2f72f16552ad6bdbf6b": (
        "sha256:b03a41075613e5499ffece93cb071ec443c9935462492cc157d99474e75d04d8",
        "sha256:2851c49721135e3e57d669a7311296ed2d5385ec18b78373460fa05df073d75f",
    ),
    "19a2d6dd72771a7f3aff753d3ebfd250": (
        "sha256:16b214b8e6d082f72193dbc5bc5c7491a53047f1dc59772cea99a690f6e4d0d8",
        "sha256:9d08b65aa8d09421a3484694a6f1304975e4df48f357d1d52d073dd869adb025",
    ),
    "20102a58cd8f9e92236fa44ee53cedbb": (
        "sha256:4ddfa654c2e3450d981ae8fed1dd4e590abd0fc6b6d63005e81866b3744b33d8",
        "sha256:071981f872f69d5b85325d6ed81954c01c10b0365dbc30af128fbacc6b99bd38",
    ),
    "2084ca7d7da9524e3a4136b0aa5cca22": (
        "sha256:0e016d35a3de09fc4f4ab29cb94a0bf5bccab00549a8369264b7a6dbad04421f",
        "sha256:b41af9587774e5e55219d52763adf747862f55f02022159b9be90c8b9ba0761f",
    ),
    "21ddc6761eb6a3953fdca13a4efbba59": (
        "sha256:09127a5442d94fbcb71e033918bf2d57a30d156d3e79c93101ba844b9092a248",
        "sha256:c3ce82a407b12a634a65516570a485ec2162f7eb7841d7329340be3a64588cef",
    ),
    "29904aaff2be0e811bfbef7f020eec7a": (
        "sha256:a2974fe95845f5ece733362720c3b6856fd2abfc52b29861c6d1c3b7dc84027c",
        "sha256:884fcb7b8835cf84627e6c2a3563d98d5e67ad723dc333223d72e5e475b50b6a",
    ),
    "29d91308b53c408009edb44b5cba4247": (
        "sha256:b0325970355368af003918c08c4621e726c2deaecb42fca2792b1a38f05cf62a",
        "sha256:cdd4dd14c95ca168494398a95468e17f2514d4e7f4ab79b81c80a1881d9465bc",
    ),
    "2b09663cbf2a5368330a5bd821e165b2": (
        "sha256:2426a281c2e6e98a025ee987fe849e6dd4e96b24cb60fb97a5b5a82acfbf3632",
        "sha256:aeb2cacdb2591251ef76cb77527504fec5fe297e71fae5ad3b1d9bc5c8f08f33",
    ),
    "2d58571512d63fd52e7376effdf1db30": (
        "sha256:8015093da868e3a5428046e8c4164bfdb54b3d49ebf28567b201aa7c66d6833e",
        "sha256:a0360a4e807c3441e551fbde0e3ecbf18e5b507a195159e23855bd152efd30c6",
    ),
    "2e51847a318eb4401c7f4d16cb893240": (
        "sha256:60039117773a67f8ff22e539a2d0d4e54166c0ab974024deb02c7b82d929100b",
        "sha256:7b733cc2ec1d7193a40835b5937aba2491b9b533a12d69818d756f20d6319d04",
    ),
    "31aa04ab7dd982dd2e64127fbcbb8e5a": (
        "sha256:3b52583f2cc367322c3edf3aa4f00e4b97fde0d931dd2941c73344c2a6dd5ef6",
        "sha256:88709a4a0f4e1817b01142efdac9de4e387540f51597d563945458cffd106fda",
    ),
    "3722f5822419cb783b2ecf307b5359c1": (
        "sha256:16458f86d69909decf5e3bcd22901f4711425cc81dc15106fac999cf28180975",
        "sha256:96a9c65ce710024192016d63170f89853b491413232a65f843b9070cd24e1004",
    ),
    "374aa170c3bb369d3284fc2081633a4c": (
        "sha256:d4ea6ccf7f735ed7dce751311b9a4ce770b01be0e62dc6a22b6cbf95c8526a81",
        "sha256:908ddbb433aeff9c1919eb757ee23f8ac5e51dff5d712804dca99b125d42a88d",
    ),
    "3a52e68752ebff8828dd4b2316d6db69": (
        "sha256:e4cda4307e6a5a7c07b5281e6b3e5e03e6facb8b731928557ca398b9f0b91b64",
        "sha256:3ce1948e9b89673e9c0aacecc7d4d0e173ceab20398956e01521a2e3cb589abb",
    ),
    "3bd7745abe8b18ff3f105da1c83b4a55": (
        "sha256:30e20863309312d54090a155cd5265bde6fad45c611887dc06178d759d04e5e7",
        "sha256:30e20863309312d54090a155cd5265bde6fad45c611887dc06178d759d04e5e7",
    ),
    "3ca35b204f83af4c276f1429371484bb": (
        "sha256:8e3ddce6d6bf5838f9981fd1cf560d238801259f3fbfb032835369128063fc3a",
        "sha256:ecdcb51783d4af985191496fbd7a170f94fa44d0530f2f99ffb90f7290c5b94e",
    ),
}  # fmt: skip
"""Charted and full digest of each run, as the mapping gave them before there was a second version. Never edited."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteTracking]:
    path = make_sqlite(tmp_path_factory.mktemp("legacy") / "mlflow.db", find_fixture())
    with closing(SqliteTracking(path)) as tracking:
        yield tracking


def read(store: SqliteTracking, keys: Keys | None) -> dict[str, RawRun]:
    return {run.info.run_id: run for run in store.read_runs(GOLDEN, keys=keys) if isinstance(run, RawRun)}


def test_legacy_runs_have_the_digests_that_they_always_had(store: SqliteTracking) -> None:
    """Version 1, of each run: read whole, with the charted keys, or with all scalars."""
    found = {run_id: to_first_digests_of(run) for run_id, run in read(store, None).items()}
    assert {run_id: (digests.charted, digests.full) for run_id, digests in found.items()} == GOLDEN
    for keys in (CHARTED, SCALARS):
        few = {run_id: to_first_digests_of(run) for run_id, run in read(store, keys).items()}
        assert {run_id: digests.charted for run_id, digests in few.items()} == {
            run_id: charted for run_id, (charted, _) in GOLDEN.items()
        }
        assert {digests.full for digests in few.values()} == {None}


def test_legacy_runs_have_all_their_curves_by_scalars_alone(store: SqliteTracking) -> None:
    """Version 2: what is read without histograms has the same series, values and charted digest as the whole run."""
    whole, few = read(store, None), read(store, SCALARS)
    for run_id, run in few.items():
        record, expected = to_record(run, Versions()), to_record(whole[run_id], Versions())
        assert to_digests(record).charted == to_digests(expected).charted
        for name in ("epochs", "loss", "gradient", "metrics", "other_series", "final_metrics", "params"):
            assert getattr(record, name) == getattr(expected, name), (run_id, name)
        for section in ("weight_stats", "gradient_stats"):
            series = {tower: found.series for tower, found in getattr(expected, section).items() if found.series}
            assert {tower: found.series for tower, found in getattr(record, section).items()} == series


def test_legacy_runs_keep_their_losses_where_they_were(store: SqliteTracking) -> None:
    """On the same epochs, but where a loss has steps that are none, or many points a step: then on steps of its own."""
    for run in read(store, None).values():
        new, old = to_record(run, Versions()), to_record(run, FIRST_VERSIONS)
        for name, values in old.loss.items():
            if name not in new.other_series:
                assert (new.epochs, new.loss[name]) == (old.epochs, values), run.tags
