"""Large values: payloads, results and checkpoints above a size are in files, not in SQL.

SQL has a reference to such a value: JSON text `{"bytes": n, "sha256": hex, "name": file}`. The file
is on disk before its reference is committed. Everything here may block: on an event loop, call it
in a thread.
"""

import hashlib
import logging
import uuid
from collections.abc import Container, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from pydantic_core import from_json, to_json

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.model.retry import PermanentError
from raytasks.model.tasks import NewTask, RaytasksError, StoreUnavailable, Task
from raytasks.protocol.messages import Claim, Outcome, TaskEnd

log = logging.getLogger(__name__)

OFFLOAD_BYTES = 64 * 1024
"""The default of OFFLOAD_BYTES. It bounds what a runner gets at once: 256 claims at most."""

MAX_RESULT_BYTES = 16 * 1024 * 1024
"""The default of MAX_RESULT_BYTES."""

PAYLOAD_NAME = ".payload.json"

_LOST = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class ArtifactLost(RaytasksError, PermanentError):
    """A large value in the artifact store is gone or has changed."""


class ArtifactsUnavailable(StoreUnavailable):
    """The artifact store cannot be read or written just now. Trying again may help."""


@dataclass(frozen=True)
class LargeValues:
    """The place of large values, and the size (bytes of JSON) above which a value is large.

    Without a store no value is large.
    """

    artifacts: ArtifactStore | None
    offload_bytes: int = OFFLOAD_BYTES
    max_result_bytes: int = MAX_RESULT_BYTES

    def is_large(self, text: str) -> bool:
        """Return whether a value is too large for SQL."""
        return self.artifacts is not None and is_longer(text, self.offload_bytes)

    def externalize_payloads(self, tasks: Sequence[NewTask]) -> list[NewTask]:
        """Write the large payloads to the artifact store, and return the tasks with references.

        It writes all or none. Raises `ArtifactsUnavailable`.
        """
        kept: list[NewTask] = []
        for task in tasks:
            try:
                kept.append(self._externalize_payload(task))
            except ArtifactsUnavailable:
                self.delete_payloads([*kept, replace(task, payload_ref="{}")])
                raise
        return kept

    def delete_payloads(self, tasks: Sequence[NewTask], stored: Container[str] = ()) -> None:
        """Delete the payloads of tasks that are certainly not in SQL. Those in `stored` are kept.

        Raises nothing: a file that cannot be deleted stays, and nothing refers to it.
        """
        for task in tasks:
            if task.payload_ref is None or task.task_id in stored or self.artifacts is None:
                continue
            try:
                self.artifacts.remove(task.task_id)
            except Exception as error:
                log.warning("the payload of %s, refused, stays: %r", task.task_id, error)

    def externalize_new_payload(self, task_id: str, text: str) -> str:
        """Write a large payload that replaces a task's payload; return the reference to its file.

        Each has a file of its own, so that the old one stays until the change is committed. Raises
        `ArtifactsUnavailable`.
        """
        assert self.artifacts is not None, "nothing is large without an artifact store"
        name = f".payload.{uuid.uuid4().hex}.json"
        return self._write(self.artifacts, "payload", task_id, name, text.encode())

    def delete_new_payload(self, task_id: str, ref: str) -> None:
        """Delete a payload's file that certainly nothing in SQL refers to. Raises nothing."""
        assert self.artifacts is not None, "nothing is large without an artifact store"
        try:
            self.artifacts.remove_own(task_id, from_json(ref)["name"])
        except Exception as error:
            log.warning("a new payload of %s, refused, stays: %r", task_id, error)

    def externalize_result(self, claim: Claim, result: bytes) -> tuple[str | None, str | None]:
        """Return what is stored for an attempt's result (JSON): itself, or a reference to its file.

        The file's name has the attempt and a part of the hash. So no other attempt overwrites it
        with something else, nor does another try of the same attempt (Ray can retry within it).

        Raises `PermanentError` for a result over MAX_RESULT_BYTES, and `ArtifactsUnavailable`.
        """
        if len(result) > self.max_result_bytes:
            raise PermanentError(
                f"the handler's result has {len(result)} bytes of JSON; "
                f"RAYTASKS_MAX_RESULT_BYTES allows {self.max_result_bytes}: return less, or "
                "keep it with context.save_artifact"
            )
        if self.artifacts is None or len(result) <= self.offload_bytes:
            return result.decode(), None
        digest = hashlib.sha256(result).hexdigest()
        name = f".result.{claim.attempt}.{digest[:16]}.json"
        return None, self._write(self.artifacts, "result", claim.task_id, name, result)

    def externalize_checkpoint(self, claim: Claim, text: str) -> tuple[str, str | None]:
        """Return what is stored for a checkpoint (JSON text): itself, or `null` and a reference.

        Each large checkpoint has its own file, so that the last committed one stays until the next
        is committed. Raises `ArtifactsUnavailable`.
        """
        if self.artifacts is None or not self.is_large(text):
            return text, None
        name = f".checkpoint.{claim.attempt}.{uuid.uuid4().hex}.json"
        ref = self._write(self.artifacts, "checkpoint", claim.task_id, name, text.encode())
        return "null", ref

    def load_checkpoint(self, claim: Claim) -> str | None:
        """Return the checkpoint that an attempt begins with (JSON text); None if there is none.

        Raises `ArtifactLost`, `ArtifactsUnavailable`.
        """
        if claim.checkpoint_ref is None:
            return claim.checkpoint
        return self._read("checkpoint", claim.task_id, claim.checkpoint_ref)

    def load_payload(self, task: Claim | Task) -> str:
        """Return a task's payload (JSON text), from the task itself or from its file.

        Raises `ArtifactLost`, `ArtifactsUnavailable`.
        """
        if task.payload_ref is None:
            return task.payload
        return self._read("payload", task.task_id, task.payload_ref)

    def load_result(self, task: Task | Outcome | TaskEnd) -> str | None:
        """Return the result of a task or of an attempt (JSON text); None if there is none.

        Raises `ArtifactLost`, `ArtifactsUnavailable`.
        """
        if task.result_ref is None:
            return task.result
        return self._read("result", task.task_id, task.result_ref)

    def load(self, task: Task) -> Task:
        """Return a task with its payload and result. Raises as `load_payload` does."""
        return replace(task, payload=self.load_payload(task), result=self.load_result(task))

    def _externalize_payload(self, task: NewTask) -> NewTask:
        if self.artifacts is None or not self.is_large(task.payload):
            return task
        data = task.payload.encode()
        ref = self._write(self.artifacts, "payload", task.task_id, PAYLOAD_NAME, data)
        return replace(task, payload="null", payload_ref=ref)

    def _write(
        self, artifacts: ArtifactStore, what: str, task_id: str, name: str, data: bytes
    ) -> str:
        try:
            artifacts.save_own(task_id, name, data)
        except Exception as error:
            log.warning("the %s of task %s cannot be written: %r", what, task_id, error)
            raise _unavailable(f"the {what} of task {task_id} cannot be written", error) from error
        digest = hashlib.sha256(data).hexdigest()
        return to_json({"bytes": len(data), "sha256": digest, "name": name}).decode()

    def _read(self, what: str, task_id: str, ref: str) -> str:
        told = from_json(ref)
        try:
            if self.artifacts is None:
                raise RuntimeError("there is no artifact store here")
            data = self.artifacts.read_own(task_id, told["name"])
        except _LOST:
            raise ArtifactLost(
                f"the {what} of task {task_id} is gone: its file {told['name']} is not in the "
                "artifact store (RAYTASKS_ARTIFACTS_URL) as it is seen from here"
            ) from None
        except Exception as error:
            log.warning("the %s of task %s cannot be read: %r", what, task_id, error)
            raise _unavailable(f"the {what} of task {task_id} cannot be read", error) from error
        if len(data) != told["bytes"] or hashlib.sha256(data).hexdigest() != told["sha256"]:
            raise ArtifactLost(
                f"the {what} of task {task_id} is gone: its file {told['name']} in the artifact "
                "store is not what was written"
            )
        return data.decode()


def is_longer(text: str, limit: int) -> bool:
    """Return whether a text has more than `limit` bytes in UTF-8."""
    return len(text) * 4 > limit and len(text.encode()) > limit


def _unavailable(what: str, error: Exception) -> ArtifactsUnavailable:
    kind = type(error).__name__  # only this: the error's text may hold a path or a secret
    return ArtifactsUnavailable(f"{what}: the artifact store does not work just now ({kind})")
