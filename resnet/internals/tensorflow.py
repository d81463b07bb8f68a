"""TensorFlow's coordination service, by which workers notice that one of them is gone.

Published is only the strategy that starts it, which gives no say in how soon it notices.
"""

from __future__ import annotations

from tensorflow.python.eager import context


def coordinate(leader: str, jobs: dict[str, int], seconds: float) -> None:
    """Settle, before TensorFlow runs, that the service gives up a worker after `seconds` without a sign.

    `leader` is the task that runs it, and `jobs` the number of tasks by the name of their job.
    """
    service = context.coordination_config_pb2
    context.context().configure_coordination_service(
        "standalone",
        leader,
        heartbeat_timeout_in_ms=int(1000 * seconds),
        shutdown_barrier_timeout_in_ms=int(1000 * seconds),
        coordinated_jobs=[service.CoordinatedJob(name=name, num_tasks=tasks) for name, tasks in jobs.items()],
    )
