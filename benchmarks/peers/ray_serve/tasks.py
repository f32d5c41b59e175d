"""How the peer Ray Serve with Celery is set. See `benchmarks/README.md`."""

import os

from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig

URL = os.environ["REDIS_URL"]
AS_DOCUMENTED = os.environ.get("PEER_AS_DOCUMENTED") == "1"

config = TaskProcessorConfig(
    queue_name="noops",
    adapter_config=CeleryAdapterConfig(
        broker_url=f"{URL}/0",
        backend_url=f"{URL}/1",
        app_custom_config={
            "worker_prefetch_multiplier": 64,
            "broker_connection_retry_on_startup": True,
        },
    ),
)
