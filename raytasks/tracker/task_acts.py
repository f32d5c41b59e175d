"""The commands about single tasks: each waits in the inbox for its tick, which answers it."""

from typing import Any

from raytasks.model.tasks import StateConflict, Task
from raytasks.protocol.commands import CancelTask, ChangeTask, DeleteTask, RetryTask, TaskCommand
from raytasks.tracker.awaited_commands import Action
from raytasks.tracker.backlog import answer_of
from raytasks.tracker.ticker import Ticker


async def execute_on_task(ticker: Ticker, command: TaskCommand) -> Task:
    """Execute a command about one task; on return it is on disk.

    Returns the task, and raises the errors, that the command's class names; also
    `StoreUnavailable`.
    """
    match command:
        case CancelTask():
            return await _cancel(ticker, command)
        case RetryTask():
            return await _retry(ticker, command)
        case ChangeTask():
            return await _change(ticker, command)
        case DeleteTask():
            task_id, namespace, by = command.task_id, command.namespace, command.by
            found: Task = await _act(ticker, Action("delete", task_id, namespace, by))
            return found


async def _cancel(ticker: Ticker, command: CancelTask) -> Task:
    action = Action("cancel", command.task_id, command.namespace, command.by, command.message)
    before, after = await _act(ticker, action)
    if before.state.final:
        raise StateConflict(f"the task is {before.state} already, and cannot be cancelled")
    return _checked(after)


async def _retry(ticker: Ticker, command: RetryTask) -> Task:
    action = Action("retry", command.task_id, command.namespace, command.by)
    action.changes, action.revision = command.changes, command.revision
    _, after = await _act(ticker, action)
    return _checked(after)


async def _change(ticker: Ticker, command: ChangeTask) -> Task:
    action = Action("change", command.task_id, command.namespace, command.by)
    action.changes, action.revision = command.changes, command.revision
    return _checked(await _act(ticker, action))


def _checked(task: Any) -> Task:
    assert isinstance(task, Task), task
    return task


async def _act(ticker: Ticker, action: Action) -> Any:
    ticker.inbox.actions.append(action)
    ticker.wake.set()
    return await answer_of(action)
