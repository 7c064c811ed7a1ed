"""The one door: exactly a version's files reach a loader, whatever changes, and whenever a process is killed."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.open import open_objects
from switchyard.core.errors import BadRecord, BadSetup, TryAgain
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.services import private_copy
from switchyard.services.private_copy import fetch, take_copy
from switchyard.services.registering import read_manifest
from tests.root import ROOT
from tests.services.killed_copy import EFFECTS

FILES = {
    "embeddings/query.parquet": b"q" * 50,
    "embeddings/größe 100%.parquet": b"c" * 60,
    "model/variables/v.data": b"x" * 100,
    "score/weights.json": b"{}",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run's folder, with what is no part of its model too."""
    made = tmp_path / "a run"
    for path, data in {**FILES, "training_metrics.json": b"{}"}.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    return made


@pytest.fixture
def manifest(source: Path) -> Manifest:
    return read_manifest(open_objects(source.as_uri()), source.as_uri(), "here")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def take(manifest: Manifest, source: Path, cache: Path) -> Path:
    return take_copy(manifest, open_objects(source.as_uri()), source.as_uri(), cache)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copy_holds_exactly_the_files_for_this_user_alone(manifest: Manifest, source: Path, cache: Path) -> None:
    """Folders are 0700; the name is the digest."""
    folder = take(manifest, source, cache)
    assert read_all(folder) == FILES
    assert folder.name == manifest.digest.replace(":", "-")
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert {stat.S_IMODE((folder / path).stat().st_mode) for path in FILES} == {0o400}


def test_second_call_does_without_the_source(manifest: Manifest, source: Path, cache: Path) -> None:
    """A bucket that is away is no reason not to start."""
    folder = take(manifest, source, cache)
    shutil.rmtree(source)
    assert take(manifest, source, cache) == folder


def _change(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    path.chmod(0o600)
    path.write_bytes(b"Q" + b"q" * 49)


def _remove(folder: Path) -> None:
    (folder / "embeddings" / "query.parquet").unlink()


def _add(folder: Path) -> None:
    (folder / "embeddings" / "extra.pkl").write_bytes(b"x")


def _grow(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    path.chmod(0o600)
    path.write_bytes(b"q" * 51)


def _link(folder: Path) -> None:
    path = folder / "embeddings" / "query.parquet"
    elsewhere = folder.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _link_folder(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    (folder / "embeddings").rename(elsewhere)
    (folder / "embeddings").symlink_to(elsewhere)


DAMAGES = [
    (_change, r"'embeddings/query\.parquet' must have sha256 .*; it has "),
    (_remove, r"'embeddings/query\.parquet' is missing"),
    (_add, r"'embeddings/extra\.pkl' is not one of the version's files"),
    (_grow, r"'embeddings/query\.parquet' must have 50 bytes; it has 51"),
    (_link, r"'embeddings/query\.parquet' is a link or no regular file"),
    (_link_folder, "'embeddings' is a link or no regular file"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_other_files_than_registered_are_refused(
    manifest: Manifest, source: Path, cache: Path, damage: Callable[[Path], None], said: str
) -> None:
    """And nothing of them is left in the cache, whose own copy would go on answering."""
    damage(source)
    with pytest.raises(BadRecord, match=said):
        take(manifest, source, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGES])
def test_damaged_cache_is_fetched_again(
    manifest: Manifest, source: Path, cache: Path, damage: Callable[[Path], None]
) -> None:
    """It does not matter who changed it."""
    folder = take(manifest, source, cache)
    damage(folder)
    assert take(manifest, source, cache) == folder
    assert read_all(folder) == FILES


def test_cache_that_others_can_write_is_fetched_again(manifest: Manifest, source: Path, cache: Path) -> None:
    """What was read could be another file a moment later."""
    folder = take(manifest, source, cache)
    folder.chmod(0o755)
    assert stat.S_IMODE(take(manifest, source, cache).stat().st_mode) == 0o700


@pytest.mark.parametrize("path", ["../outside", "embeddings/../../outside", "/etc/outside", "embeddings//x"])
def test_path_that_leaves_the_folder_is_refused(source: Path, tmp_path: Path, path: str) -> None:
    """Though a manifest names it: nothing is written anywhere."""
    bad = Manifest((ModelFile(path=path, size_bytes=1, sha256="0" * 64),))
    with pytest.raises(BadRecord, match="the list of files"):
        fetch(bad, open_objects(source.as_uri()), source.as_uri(), tmp_path / "folder")
    with pytest.raises(BadRecord):
        take(bad, source, tmp_path / "cache")
    assert not (tmp_path / "folder").exists()
    assert not (tmp_path / "outside").exists()


def test_fetch_refuses_a_folder_that_is_there(manifest: Manifest, source: Path, tmp_path: Path) -> None:
    """Someone else's files would be among the version's."""
    folder = tmp_path / "folder"
    fetch(manifest, open_objects(source.as_uri()), source.as_uri(), folder)
    assert read_all(folder) == FILES
    with pytest.raises(BadSetup, match="File exists"):
        fetch(manifest, open_objects(source.as_uri()), source.as_uri(), folder)


def test_source_that_goes_away_leaves_nothing_half(manifest: Manifest, source: Path, cache: Path) -> None:
    """The next call begins again."""

    class Away(FileObjects):
        def read_range(self, uri: str, *, start: int, length: int) -> bytes:
            if "model" in uri:
                raise TryAgain("no connection")
            return super().read_range(uri, start=start, length=length)

    with pytest.raises(TryAgain):
        take_copy(manifest, Away(), source.as_uri(), cache)
    assert list(cache.iterdir()) == []
    assert read_all(take(manifest, source, cache)) == FILES


def test_large_file_is_copied_in_parts(
    manifest: Manifest, source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is the same to the last byte."""
    monkeypatch.setattr(private_copy, "CHUNK_BYTES", 7)  # a file of 8 MB would take the test's time
    assert read_all(take(manifest, source, cache)) == FILES


@pytest.mark.parametrize("effect", EFFECTS)
def test_killed_copy_leaves_nothing_half(manifest: Manifest, source: Path, cache: Path, effect: str) -> None:
    """Under the version's name is all or nothing, and the next call removes the rest."""
    command = [sys.executable, "-m", "tests.services.killed_copy", str(source), str(cache), effect]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    ready = cache / manifest.digest.replace(":", "-")
    assert ready.exists() == (effect == "end")
    folder = take(manifest, source, cache)
    assert read_all(folder) == FILES
    assert list(cache.iterdir()) == [folder]


def test_many_at_once_get_the_same_whole_copy(manifest: Manifest, source: Path, cache: Path) -> None:
    """Threads as well as processes hold locks of their own; a damaged copy is replaced under all of them."""
    for damage in (None, _change):
        if damage is not None:
            damage(cache / manifest.digest.replace(":", "-"))
        with ThreadPoolExecutor(8) as threads:
            folders = list(threads.map(lambda _: take(manifest, source, cache), range(16)))
        assert set(folders) == {cache / manifest.digest.replace(":", "-")}
        assert read_all(folders[0]) == FILES
        assert list(cache.iterdir()) == [folders[0]]


def test_copy_under_way_is_not_taken_for_abandoned(manifest: Manifest, source: Path, cache: Path) -> None:
    """The one who fills it holds its lock."""
    seen: list[list[str]] = []

    class Looking(FileObjects):
        def read_range(self, uri: str, *, start: int, length: int) -> bytes:
            if not seen:
                seen.append([path.name for path in cache.iterdir()])
                take(manifest, source, cache)  # another process, in the middle of this one's work
                seen.append([path.name for path in cache.iterdir() if path.name.startswith("part-")])
            return super().read_range(uri, start=start, length=length)

    take_copy(manifest, Looking(), source.as_uri(), cache)
    assert seen[0] == seen[1] != []
    assert os.listdir(cache) == [manifest.digest.replace(":", "-")]
