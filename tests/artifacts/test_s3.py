"""Files in S3, by a server of moto: several processes write there, and all see the same.

It runs where s3fs and moto are installed, which are not among what `make install` brings (95 MB):
`uv pip install s3fs 'moto[s3]' flask flask-cors`.
"""

import importlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore

NEEDED = "s3fs, and a server of moto (moto[s3], flask and flask-cors)"
pytest.importorskip("s3fs", reason=f"it needs {NEEDED}")
moto_server = pytest.importorskip("moto.server", reason=f"it needs {NEEDED}")

TASK_ID = "0198c1de-0000-7000-8000-000000000001"
OTHER_ID = "0198c1de-0000-7000-8000-000000000002"
BUCKET = "bucket"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of boto3, which stands for the other processes; the bucket is there."""
    boto3, s3fs = (importlib.import_module(name) for name in ("boto3", "s3fs"))
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def store(bucket: Any, request: pytest.FixtureRequest) -> ArtifactStore:
    return ArtifactStore(f"s3://{BUCKET}/{request.node.name}")


def key(store: ArtifactStore, task_id: str, name: str) -> str:
    """Return the key of a file in the bucket."""
    return store.path(task_id, name).removeprefix(f"{BUCKET}/")


@pytest.mark.parametrize("size", [0, 4, 20_000_000])
def test_what_was_saved_comes_back(store: ArtifactStore, size: int) -> None:
    data = os.urandom(size)
    assert store.save(TASK_ID, "a.bin", data) == f"/artifacts/{TASK_ID}/a.bin"
    assert store.read(TASK_ID, "a.bin") == data
    assert store.list(TASK_ID) == [("a.bin", size)]
    assert store.overview() == ([TASK_ID], set())


def test_what_others_write_is_seen_at_once(store: ArtifactStore, bucket: Any) -> None:
    assert store.list(TASK_ID) == []
    store.save(TASK_ID, "a.txt", b"one")
    assert store.list(TASK_ID) == [("a.txt", 3)]
    longer = b"a longer text"
    bucket.put_object(Bucket=BUCKET, Key=key(store, TASK_ID, "a.txt"), Body=longer)
    file, size = store.open(TASK_ID, "a.txt")
    with file:
        assert (file.read(), size) == (longer, len(longer))
    bucket.put_object(Bucket=BUCKET, Key=key(store, TASK_ID, "b.txt"), Body=b"two")
    assert store.list(TASK_ID) == [("a.txt", len(longer)), ("b.txt", 3)]
    bucket.delete_object(Bucket=BUCKET, Key=key(store, TASK_ID, "a.txt"))
    assert store.list(TASK_ID) == [("b.txt", 3)]
    with pytest.raises(FileNotFoundError, match=r"has no artifact 'a\.txt'"):
        store.load(TASK_ID, "a.txt", 100)


def test_all_files_of_a_task_are_removed(store: ArtifactStore, bucket: Any) -> None:
    store.remove(TASK_ID)
    store.save_own(TASK_ID, ".result", b"own")
    store.save(OTHER_ID, "a.txt", b"stays")
    store.mark_used_by("here")
    assert store.list(TASK_ID) == []
    assert store.read_own(TASK_ID, ".result") == b"own"
    bucket.put_object(Bucket=BUCKET, Key=key(store, TASK_ID, "late.txt"), Body=b"late")
    store.remove(TASK_ID)
    store.remove_own(TASK_ID, ".result")
    with pytest.raises(FileNotFoundError):
        store.read_own(TASK_ID, ".result")
    assert store.overview() == ([OTHER_ID], {"here"})
