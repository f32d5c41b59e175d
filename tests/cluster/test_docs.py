"""The blocks of the documents that need Ray run on the service that all tests share."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Service
from tests.docs.blocks import CLUSTER, DOCUMENTS, ROOT, Block, blocks_of
from tests.docs.running import session_in

pytestmark = pytest.mark.slow

BLOCKS = {
    document: chosen
    for document in DOCUMENTS
    if (chosen := [block for block in blocks_of(document) if block.marker == CLUSTER])
}


@pytest.mark.parametrize("document", BLOCKS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_blocks_run(document: Path, tmp_path: Path, service: Service) -> None:
    blocks: list[Block] = BLOCKS[document]
    # The handlers of the service are those of the checkout.
    environment = {**service.environment, "RAY_ADDRESS": service.ray_address}
    with session_in(tmp_path / "project", service.url, **environment) as session:
        session.shell.run(f"cd {ROOT}")
        for block in blocks:
            session.run(block)
