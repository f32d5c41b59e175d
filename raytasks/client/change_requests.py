"""The requests that change a task, each as plain data; and the steps of a deletion."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from raytasks.client.answers import error_of
from raytasks.client.api import Api
from raytasks.client.requests import MATCH_HEADER, Call, task_path
from raytasks.client.steps import Steps


def update_call(task_id: str, revision: int, changes: Mapping[str, Any]) -> Call:
    """Return the request that changes a task of this revision."""
    headers = {MATCH_HEADER: f'"{revision}"'}
    return Call("PATCH", task_path(task_id), body=dict(changes), headers=headers)


def retry_call(task_id: str, revision: int | None, changes: Mapping[str, Any]) -> Call:
    """Return the request that runs a task again, maybe with other values; None: any revision."""
    headers = {} if revision is None else {MATCH_HEADER: f'"{revision}"'}
    path = f"{task_path(task_id)}/retry"
    return Call("POST", path, body=dict(changes) or None, headers=headers)


def delete_steps(api: Api, task_id: str) -> Steps[None]:
    """Delete a task.

    If the request had to be sent again, a task that is not there counts as deleted: an earlier try
    may have arrived.
    """
    answer, tries = yield from api.exchange(Call("DELETE", task_path(task_id)))
    repeated = tries > 0 and answer.status_code == HTTPStatus.NOT_FOUND
    if not (repeated or answer.status_code == HTTPStatus.NO_CONTENT):
        raise error_of(answer, api.url)
