"""A service on hosts that share no folder: payloads and results are in S3, by a server of moto.

It needs what `tests/artifacts/test_s3.py` needs.
"""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.artifacts.test_s3 import BUCKET, VARIABLES  # it is skipped without moto
from tests.hosts.lan import lacking
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import HOSTS, ServiceOnHosts, prepared

PORT = 5000


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceOnHosts]:
    """A service on hosts; the server for S3 is beside the database."""
    if reason := lacking():
        pytest.skip(reason)
    with prepared(tmp_path_factory.mktemp("s3"), "buckets") as service:
        url = f"http://{service.database.address}:{PORT}"
        service.variables = {
            **VARIABLES,
            "AWS_ENDPOINT_URL": url,
            "ARTIFACTS_URL": f"s3://{BUCKET}/raytasks",
        }
        moto = [sys.executable, "-m", "moto.server"]
        moto += [f"--host={service.database.address}", f"--port={PORT}"]
        service.database.run(moto, service.folder / "moto.log")
        service.wait_for(lambda: answers(url), "moto answers")
        yield service


def answers(url: str) -> bool:
    """Return whether a server answers."""
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def bucket_at(service: ServiceOnHosts) -> Any:
    """Return a client for the server, with a new bucket."""
    client = importlib.import_module("boto3").client(
        "s3",
        endpoint_url=service.variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=VARIABLES["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=VARIABLES["AWS_SECRET_ACCESS_KEY"],
        region_name=VARIABLES["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    return client


def test_large_values_by_s3(service: ServiceOnHosts) -> None:
    bucket = bucket_at(service)
    service.start()
    load = Load(service)
    for task_id in load.running_on(*HOSTS, seconds=2.0, tasks=15):
        load.done(task_id)
    sizes: list[int] = []

    def look() -> None:
        found = bucket.list_objects_v2(Bucket=BUCKET, Prefix="raytasks/")["Contents"]
        sizes.extend(item["Size"] for item in found)

    assert load.large_values(9, look) & set(HOSTS[1:])
    assert sum(size > 2_000_000 for size in sizes) == 9  # the results
    assert sum(500_000 < size < 600_000 for size in sizes) == 9  # the payloads
    assert not (service.folder / "artifacts").exists()
    load.judge()
