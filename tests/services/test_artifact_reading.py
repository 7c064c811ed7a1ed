"""What serving remembers of the manifests of copied artifacts."""

import threading

from switchyard.core.artifacts.manifest import Manifest, to_manifest
from switchyard.services.artifact_reading import MANIFESTS_BYTES, Manifests

MANIFEST = to_manifest("a" * 32, "gs://bucket/a", [])


def keep(manifests: Manifests, name: str, size_bytes: int, manifest: Manifest = MANIFEST) -> None:
    manifests.keep("gs://bucket/copies", name, manifest, size_bytes)


def kept(manifests: Manifests, names: str) -> str:
    return "".join(name for name in names if manifests.find("gs://bucket/copies", name) is not None)


def test_manifests_are_remembered_by_their_bytes() -> None:
    """Many small ones, or one large one: the one that was used longest ago goes first."""
    manifests = Manifests(100)
    for name in "abcdefghij":
        keep(manifests, name, 10)
    assert kept(manifests, "abcdefghij") == "abcdefghij"
    assert kept(manifests, "a") == "a"
    keep(manifests, "k", 5)
    assert (kept(manifests, "abk"), manifests.size_bytes) == ("ak", 95)
    keep(manifests, "l", 100)
    assert (kept(manifests, "abcdefghijkl"), manifests.size_bytes) == ("l", 100)


def test_a_manifest_that_has_no_room_is_not_remembered() -> None:
    """Nor does it cost those that are; and one that is there already is counted once."""
    manifests = Manifests(100)
    keep(manifests, "a", 60)
    keep(manifests, "b", 101)
    keep(manifests, "a", 60)
    assert (kept(manifests, "ab"), manifests.size_bytes) == ("a", 60)


def test_a_place_of_copies_has_manifests_of_its_own() -> None:
    """The same digest elsewhere is another file, which may be gone."""
    manifests = Manifests(MANIFESTS_BYTES)
    keep(manifests, "a", 1)
    assert manifests.find("gs://bucket/other", "a") is None


def test_threads_do_not_lose_count() -> None:
    """Each byte that is counted is of a manifest that is remembered."""
    manifests = Manifests(1_000)
    names = [chr(0x100 + number) for number in range(400)]

    def work(mine: list[str]) -> None:
        for name in mine:
            keep(manifests, name, 7)

    threads = [threading.Thread(target=work, args=(names[start::3],)) for start in (0, 1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manifests.size_bytes == 7 * len(kept(manifests, "".join(names))) == 7 * (1_000 // 7)
