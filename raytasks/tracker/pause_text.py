"""A pause in words, and the command that ends it."""

from raytasks.model.steering import Pause


def paused_text(pause: Pause) -> str:
    """Return in words what a pause holds back, such as `the type send_mail is paused`."""
    match pause.key:
        case "", "":
            return "the service is drained" if pause.drain else "the service is paused"
        case namespace, "":
            return f"the namespace {namespace} is paused"
        case "", task_type:
            return f"the type {task_type} is paused"
        case namespace, task_type:
            return f"the type {task_type} is paused in the namespace {namespace}"


def resume_text(pause: Pause) -> str:
    """Return the command that ends a pause, in words."""
    options = "".join(
        f" {option} {value}"
        for option, value in (("--type", pause.task_type), ("--namespace", pause.namespace))
        if value
    )
    return f"run 'raytasks resume{options}'"
