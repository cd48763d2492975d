"""The Celery app of the workers: ``celery -A worker worker``, ``celery -A worker flower``."""

from __future__ import annotations

import os
import sys
import warnings

from celery.exceptions import SecurityWarning

from contract.cluster.variables import hints
from contract.errors import SettingError
from contract.interpreter import print_warnings
from contract.streams import harden
from worker import flower_access
from worker.pools import patch_trouble
from worker.wiring import Worker

print_warnings()
warnings.filterwarnings("ignore", category=SecurityWarning)  # worker.wiring says in one line that it runs as root
if trouble := patch_trouble():  # before harden(), which waits with the select.poll that eventlet removes
    sys.stderr.write(f"trawl: {trouble}\n")
    sys.exit(2)
harden()  # a worker continues if its log cannot be written
for hint in hints(os.environ):
    sys.stderr.write(f"trawl: {hint}\n")
try:
    root = Worker(os.environ)
except SettingError as error:
    sys.stderr.write(f"trawl: {error}\n")
    sys.exit(2)  # not an exception: Celery's command line would print it as a traceback
app = root.app
root.attach()
flower_access.attach()
