"""Files of tasks: whole or not at all, and never outside their folder."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.model.tasks import is_task_id

TASK_ID = "0198c1de-0000-7000-8000-000000000001"
OTHER_ID = "0198c1de-0000-7000-8000-000000000002"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


class TestSaving:
    @pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)) * 5000])
    def test_what_was_saved_comes_back(self, store: ArtifactStore, data: bytes) -> None:
        assert store.save(TASK_ID, "a.bin", data) == f"/artifacts/{TASK_ID}/a.bin"
        assert store.read(TASK_ID, "a.bin") == data

    def test_saving_again_replaces(self, store: ArtifactStore, tmp_path: Path) -> None:
        store.save(TASK_ID, "a.txt", b"a long first text")
        store.save(TASK_ID, "a.txt", b"second")
        assert store.read(TASK_ID, "a.txt") == b"second"
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.txt"]

    def test_tasks_do_not_share_files(self, store: ArtifactStore) -> None:
        store.save(TASK_ID, "a.txt", b"one")
        store.save(OTHER_ID, "a.txt", b"two")
        assert store.read(TASK_ID, "a.txt") == b"one"
        with pytest.raises(FileNotFoundError):
            store.read(OTHER_ID, "b.txt")

    def test_a_file_that_could_not_be_written_whole_is_not_there(
        self, store: ArtifactStore, tmp_path: Path
    ) -> None:
        store.save(TASK_ID, "a.txt", b"old")
        with pytest.raises(TypeError):
            store.save(TASK_ID, "a.txt", [1, 2])  # type: ignore[arg-type]
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.txt"]
        assert store.read(TASK_ID, "a.txt") == b"old"
        store.save(TASK_ID, "b.txt", b"good")
        assert store.read(TASK_ID, "b.txt") == b"good"
        assert store.read(TASK_ID, "a.txt") == b"old"

    def test_threads_do_not_cut_off_each_others_files(self, store: ArtifactStore) -> None:
        data = bytes(range(256)) * 4000

        def save(number: int) -> None:
            store.save(TASK_ID, f"{number % 4}.bin", data)
            assert store.read(TASK_ID, f"{number % 4}.bin") == data

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(save, range(64)))

    def test_files_of_raytasks_itself_are_apart(self, store: ArtifactStore) -> None:
        store.save_own(TASK_ID, ".payload.json", b"own")
        assert store.read_own(TASK_ID, ".payload.json") == b"own"
        with pytest.raises(ValueError, match="bad artifact name"):
            store.read(TASK_ID, ".payload.json")
        for name in ("payload.json", ".", "..", "./a", ".a/b", ".A", "", ".a\n"):
            with pytest.raises(ValueError, match="not a file name of raytasks itself"):
                store.save_own(TASK_ID, name, b"x")

    def test_a_store_may_be_a_url(self) -> None:
        store = ArtifactStore("memory://test-artifacts/")
        store.save(TASK_ID, "a.txt", b"hi")
        assert ArtifactStore("memory://test-artifacts").read(TASK_ID, "a.txt") == b"hi"


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a", "A.png", "report-2.final_v1.tar.gz", "0", "x" * 128, "a..b"]
    )
    def test_plain_names_are_taken(self, store: ArtifactStore, name: str) -> None:
        store.save(TASK_ID, name, b"x")
        assert store.read(TASK_ID, name) == b"x"

    @pytest.mark.parametrize(
        "name",
        [
            "", ".", "..", ".hidden", "../a", "a/b", "/etc/passwd", "a\\b", "a b", "-a", "_a",
            "a\n", "a\x00", "ä", "a%2e", "x" * 129, "C:a",
        ],
    )  # fmt: skip
    def test_others_are_refused(self, store: ArtifactStore, name: str) -> None:
        for call in (lambda: store.save(TASK_ID, name, b"x"), lambda: store.read(TASK_ID, name)):
            with pytest.raises(ValueError, match="bad artifact name"):
                call()

    @pytest.mark.parametrize(
        "task_id",
        ["", "..", "../..", "1", TASK_ID.upper(), TASK_ID + "\n", TASK_ID + "/..", TASK_ID[:-1]],
    )
    def test_what_is_no_task_id_is_refused(self, store: ArtifactStore, task_id: str) -> None:
        with pytest.raises(ValueError, match="not a task id"):
            store.path(task_id, "a.txt")

    @given(st.text(), st.text())
    def test_no_text_leads_out_of_the_folder(self, task_id: str, name: str) -> None:
        store = ArtifactStore("/data/artifacts")
        try:
            path = store.path(task_id or TASK_ID, name)
        except ValueError:
            return
        assert Path(path).parent.parent == Path("/data/artifacts")


def test_all_files_of_a_task_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    other = TASK_ID[:-1] + "2"
    for task_id, name in ((TASK_ID, "a.txt"), (TASK_ID, "b.txt"), (other, "a.txt")):
        store.save(task_id, name, b"x")
        store.save_own(task_id, ".payload.json", b"x")
    store.remove(TASK_ID)
    store.remove(TASK_ID)
    assert [path.name for path in tmp_path.iterdir()] == [other]
    with pytest.raises(ValueError, match="not a task id"):
        store.remove("../outside")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", TASK_ID.upper(), TASK_ID + "0", TASK_ID[:-1], TASK_ID.replace("-", ""),
        "0198c1de0000-70-00-8000-000000000001", TASK_ID + "\n", "../" + TASK_ID,
    ],
)  # fmt: skip
def test_what_cannot_be_the_id_of_a_task(text: str) -> None:
    assert is_task_id(TASK_ID)
    assert not is_task_id(text)


class ListedOnce(MemoryFileSystem):  # type: ignore[misc]  # it has no types
    """A file system that keeps its listings, as that of S3 does unless it is told not to."""

    protocol = "listedonce"
    cachable = False

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        """Return the listing that is kept, else the present one."""
        path = self._strip_protocol(path)
        if (kept := self._ls_from_cache(path)) is None:
            kept = self.dircache[path] = super().ls(path, detail=True)
        return kept if detail else [item["name"] for item in kept]


def test_files_of_other_processes_are_seen_at_once() -> None:
    fsspec.register_implementation("listedonce", ListedOnce, clobber=True)
    one, other = (ArtifactStore("listedonce://files") for _ in range(2))
    one.save(TASK_ID, "a.txt", b"one")
    assert one.list(TASK_ID) == [("a.txt", 3)]
    other.save(TASK_ID, "b.txt", b"two")
    assert one.list(TASK_ID) == [("a.txt", 3), ("b.txt", 3)]
    one.remove(TASK_ID)
