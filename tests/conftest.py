"""What every tier starts from: an environment without settings, and hypothesis without a watch."""

import os
import signal

from hypothesis import HealthCheck, settings

# Celery reads CELERY_BROKER_URL and CELERY_RESULT_BACKEND by itself and they beat any configuration, libcurl reads the
# proxy variables: tests must not reach what the developer's shell happens to name. Before anything imports Celery.
_PREFIXES = ("TRAWL_", "CELERY_", "FLOWER_", "REDIS_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
for _name in list(os.environ):
    if _name.startswith(_PREFIXES) or _name.lower() in _PROXIES:
        del os.environ[_name]

# A shell that starts the tests in the background has them ignore SIGINT, and so would every program they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline measures the machine, and so does the check for slow generation. The examples are the same every time, so
# that a red suite is about the change; `--hypothesis-profile=search` looks for new ones.
_THE_MACHINES = [HealthCheck.too_slow]
settings.register_profile("trawlnet", deadline=None, derandomize=True, suppress_health_check=_THE_MACHINES)
settings.register_profile("search", deadline=None, suppress_health_check=_THE_MACHINES)
settings.load_profile("trawlnet")
