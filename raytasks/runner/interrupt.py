"""Stopping Python code that runs in another thread."""

import ctypes


class AttemptStopped(BaseException):
    """Thrown into a handler that was asked to stop and did not."""


def interrupt_thread(thread_id: int) -> None:
    """Throw `AttemptStopped` into a thread, at its next step of Python code.

    Code that waits in C is not reached before it returns. See `PyThreadState_SetAsyncExc` in
    Python's C API.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(AttemptStopped)
    )


def withdraw_interrupt(thread_id: int) -> None:
    """Take back an interrupt that has not been thrown yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)
