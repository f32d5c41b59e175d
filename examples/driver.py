"""A driver script: submits tasks to the service of the running Ray cluster, and gets results.

Run it where `raytasks up` runs: `python examples/driver.py`.
"""

import ray

import raytasks


def main() -> None:
    """Submit one task that completes and one that fails, and show both."""
    ray.init(address="auto", log_to_driver=False)

    task = raytasks.submit("text_processing", {"text": "Ray moves the work. SQL keeps the truth."})
    print(task.id, ray.get(task.ref))

    # A private address is never fetched, and a retry cannot help: the task fails for good.
    private = raytasks.submit("image_processing", {"image_url": "http://127.0.0.1/picture.png"})
    try:
        ray.get(private.ref)
    except raytasks.TaskFailed as error:
        print("TaskFailed:", str(error).strip().splitlines()[-1])


if __name__ == "__main__":
    main()
