"""The client's documents have the fields that the API sends and takes."""

import typing

import pytest
from pydantic import BaseModel

from raytasks.api import task_models
from raytasks.client import documents
from raytasks.handling.submit_request import SubmitRequest
from raytasks.model.states import State


@pytest.mark.parametrize(
    ("document", "model"),
    [
        (documents.TaskDocument, task_models.TaskWithAttemptsView),
        (documents.AttemptDocument, task_models.AttemptView),
        (documents.TaskError, task_models.ErrorView),
        (documents.ProgressDocument, task_models.ProgressView),
        (documents.PageDocument, task_models.TaskPageView),
        (documents.SubmissionDocument, SubmitRequest),
    ],
)
def test_fields_are_those_of_the_api(document: type, model: type[BaseModel]) -> None:
    assert set(typing.get_type_hints(document)) == set(model.model_fields)


def test_states_are_those_of_the_api() -> None:
    assert set(typing.get_args(documents.StateName)) == {state.value for state in State}
