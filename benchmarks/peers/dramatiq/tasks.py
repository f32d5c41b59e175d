"""The task of the peer Dramatiq, and how it is set. See `benchmarks/README.md`."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["REDIS_URL"]
KEEPS_RESULTS = os.environ.get("PEER_RESULTS") == "1"

broker = RedisBroker(url=f"{URL}/0")
if KEEPS_RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=f"{URL}/1")))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if KEEPS_RESULTS else {}))
def noop() -> None:
    """Do nothing."""
