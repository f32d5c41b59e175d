"""A worker of the peer DBOS: takes tasks from the queue until it is ended."""

import signal

import tasks

if __name__ == "__main__":
    tasks.launch([tasks.QUEUE])
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
