"""What `celery -A worker flower` shows of Trawlnet. Flower reads this file in the folder it is started from.

Flower applies FLOWER_* first, then this file, then its command line: an option is set here only where the environment
is silent. What else stands at this level must not be called like an option of Flower's or Tornado's (`import logging`
would set the option `logging` to a module): hence the underscores.
"""

import os as _os


def _unless_set(**options: object) -> None:
    for name, value in options.items():
        if f"FLOWER_{name.upper()}" not in _os.environ:
            globals()[name] = value


_unless_set(
    tasks_columns="uuid,args,state,result,received,runtime,worker",  # a row is a batch; uuid begins with its job
    max_tasks=20_000,  # some 100 MB; Flower's own 100,000 take half a gigabyte
    natural_time=True,
    purge_offline_workers=600,  # seconds
)


def format_task(task):  # type: ignore[no-untyped-def]  # Flower's own class, which has no types
    """Leave out what is there twice: job and batch are the row's id. A search sees them all the same."""
    task.kwargs = ""
    if task.args and " urls=" in task.args:
        task.args = f"{task.args.rpartition('=')[2]} URLs"
    if task.result:
        task.result = task.result.strip("'")
    elif task.exception:
        task.result = task.exception
    return task
