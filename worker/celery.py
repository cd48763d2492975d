"""The Celery app of the workers: ``celery -A worker worker``, ``celery -A worker flower``."""

from __future__ import annotations

import os
import sys

from contract.cluster.broker import build_app
from contract.cluster.settings import ClusterSettings
from contract.cluster.variables import hints
from contract.errors import SettingError
from contract.interpreter import print_warnings
from contract.streams import harden
from worker import flower_access, lifecycle, metering
from worker.pools import patch_trouble
from worker.settings import WorkerSettings

print_warnings()
if trouble := patch_trouble():  # first: standard streams that are hardened wait by what eventlet has replaced
    sys.stderr.write(f"{trouble}\n")
    sys.exit(2)
harden()  # a worker whose log cannot be written works on
for hint in hints(os.environ):
    sys.stderr.write(f"{hint}\n")
try:
    app = build_app(ClusterSettings.from_environment(os.environ), include=["worker.tasks"])
    settings = WorkerSettings.from_environment(os.environ)
    settings.proxy()  # so that what cannot be used is told now, and not by every task
    settings.certificates(os.environ)  # the same
    lifecycle.attach(app)
    metering.attach(settings)
    flower_access.attach()
except SettingError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(2)  # not an exception: Celery's command line would print it as a traceback
