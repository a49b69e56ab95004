"""Compiles the hot path in place with mypyc: `python setup.py build_ext --inplace`, which `make` does.

What is compiled here is plain, typed Python and runs as that where nothing compiled lies beside it.
"""

from mypyc.build import mypycify
from setuptools import setup

HOT_PATH = [
    "handlers/echo.py",
    "handlers/frames.py",
    "handlers/identified.py",
    "handlers/socket.py",
    "handlers/stream.py",
    "handlers/watch.py",
    "pipeline/accounts.py",
    "pipeline/allowances.py",
    "pipeline/audience.py",
    "pipeline/batch_policy.py",
    "pipeline/batching.py",
    "pipeline/delivery.py",
    "pipeline/engine.py",
    "pipeline/ensemble.py",
    "pipeline/fair_queue.py",
    "pipeline/hub.py",
    "pipeline/idle.py",
    "pipeline/inference_account.py",
    "pipeline/job.py",
    "pipeline/limits.py",
    "pipeline/observer.py",
    "pipeline/queue_memory.py",
    "pipeline/results.py",
    "pipeline/rings.py",
    "pipeline/routes.py",
    "pipeline/run_times.py",
    "pipeline/session.py",
    "pipeline/shares.py",
    "pipeline/slo.py",
    "pipeline/stats.py",
    "pipeline/stream.py",
    "pipeline/streams.py",
    "pipeline/token_bucket.py",
    "pipeline/topic_table.py",
    "pipeline/topics.py",
    "pipeline/usage.py",
]

if __name__ == "__main__":
    setup(ext_modules=mypycify(HOT_PATH, group_name="waterspout", opt_level="3", debug_level="1"))
