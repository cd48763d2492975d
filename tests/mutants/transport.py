"""The guards that keep a worker and a follower running when Redis is lost, or comes back older."""

from __future__ import annotations

from tests.mutants.guard import Guard

GUARDS = (
    Guard("contract/cluster/transport.py", "if self.connection is None or self.connection.client is None:",
        ("tests/unit/contract/cluster/test_transport.py",), "if False:"),
    Guard("contract/cluster/broker.py", "    mend_redis_transport()\n",
        ("tests/unit/contract/cluster/test_transport.py",)),
    Guard("worker/batch/runner.py", "if not self._holds_few():", ("tests/unit/worker/batch/test_stragglers.py",),
        "if False:"),
    Guard("worker/listeners/snapshots.py", "except (*UNREACHABLE, OSError):",
        ("tests/unit/worker/listeners/test_snapshots.py",), "except KeyError:"),
    Guard("worker/listeners/flower.py", "except (*UNREACHABLE, OperationalError, OSError):\n                pass",
        ("tests/unit/worker/listeners/test_flower.py",), "except KeyError:\n                pass"),
    Guard("worker/listeners/flower.py", "except (*UNREACHABLE, OperationalError, OSError):\n            pass",
        ("tests/unit/worker/listeners/test_flower.py",), "except KeyError:\n            pass"),
    Guard("worker/listeners/flower.py", "        except Full:\n            return",
        ("tests/unit/worker/listeners/test_flower.py",), "        except KeyError:\n            return"),
    Guard("contract/ledger/channel.py", 'if message["type"] == "message" and message["channel"] in self._beside:',
        ("tests/integration/test_progress_snapshots.py",), 'if message["type"] == "pong":'),
    Guard("contract/ledger/channel.py", "for _ in self._channels", ("tests/integration/test_progress_snapshots.py",),
        "for _ in [0]"),
    Guard("producer/job/live_progress.py", "if snapshot.batch not in self._over:",
        ("tests/unit/producer/job/test_live_progress.py",), "if True:"),
    Guard("producer/job/manifest_sink.py", "        self.live.end(collected)\n",
        ("tests/integration/test_follow.py", "-k", "snapshots")),
    Guard("worker/batch/runner.py",
        "self._listener.notify(BatchesProgressed([(batch.claim, batch.snapshot()) for batch in shown]))",
        ("tests/acceptance/test_run.py::test_the_progress_of_an_open_batch_is_shown",), "pass"),
)  # fmt: skip
