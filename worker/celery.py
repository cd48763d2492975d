"""The Celery app of the workers: ``celery -A worker worker``, ``celery -A worker flower``."""

from __future__ import annotations

import os
import sys

from contract.broker import build_app
from contract.errors import SettingError
from contract.settings import ClusterSettings
from worker import lifecycle

try:
    app = build_app(ClusterSettings.from_environment(os.environ), include=["worker.tasks"])
except SettingError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(2)  # not an exception: Celery's command line would print it as a traceback
lifecycle.attach(app)
