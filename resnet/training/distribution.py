"""Where one training runs: a device, the cores or GPUs of a host, or several hosts; all tf.distribute."""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import tensorflow as tf

from resnet import process
from resnet.errors import UserError
from resnet.internals.tensorflow import coordinate

HEARTBEAT_SECONDS = 20.0


def use_threads(number: int) -> None:
    """Let TensorFlow run on so many threads. Raises UserError where it runs already, on another number."""
    with _before_it_runs(f"threads={number}", "on another number"):
        _set_threads(number, number)


def _set_threads(an_operation, operations):
    tf.config.threading.set_intra_op_parallelism_threads(an_operation)
    tf.config.threading.set_inter_op_parallelism_threads(operations)


@contextmanager
def _before_it_runs(wish, instead):
    """Makes a UserError of what TensorFlow raises where it runs already, otherwise than wished."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"{wish}: an earlier job of this process runs {instead}\n"
            "give all jobs the same, or hydra/launcher=submitit_local, which has a process for each"
        ) from error


def single() -> tf.distribute.Strategy:
    """The default device: the first GPU, or the CPU."""
    return tf.distribute.get_strategy()


def mirrored(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """All GPUs of this host, or `devices` such as `["GPU:0", "GPU:2"]`. UserError where there are none."""
    if not devices and not tf.config.list_physical_devices("GPU"):
        raise UserError("trainer/strategy=mirrored: this host has no GPU; give trainer/strategy=single")
    return _mirrored(devices and tuple(devices))


@functools.cache
def cores(replicas: int | None = None) -> tf.distribute.Strategy:
    """A replica on each of the CPU's cores: `replicas`, or as many as TensorFlow has threads.

    Faster than `single` on small images, where all cores share each operation and wait for the last at
    its end. The first call must come before TensorFlow runs anything; else UserError.
    """
    threads = tf.config.threading.get_inter_op_parallelism_threads()
    number = replicas or threads or process.cores()
    with _before_it_runs(f"trainer/strategy=cores with {number} replicas", "otherwise"):
        _set_threads(1, number)
        devices = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    # Two are sooner added up directly than in the ring that sums over more of them.
    return _mirrored(tuple(f"CPU:{core}" for core in range(number)), directly=number == 2)


@functools.cache
def _mirrored(devices, directly=False):
    # One for all trainings of a process: the collectives of a second would take the first's for theirs.
    adds = tf.distribute.HierarchicalCopyAllReduce() if directly else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=adds)


@functools.cache
def multi_worker(
    resolver: str = "tf_config", port: int = 8888, start_seconds: float = 300
) -> tf.distribute.Strategy:
    """This process as one of the workers of a cluster, on all GPUs of its own or on the CPU.

    One strategy serves all trainings of a process; the first call must come before TensorFlow runs
    anything. A worker that dies makes every collective operation of the others raise
    tf.errors.UnavailableError within about HEARTBEAT_SECONDS.

    Args:
        resolver: `tf_config` takes the cluster from TF_CONFIG, `slurm` from the job step that runs this.
        port: of the first worker of a host, under `slurm`.
        start_seconds: to wait for the other workers.

    Raises UserError where the environment describes no cluster, or its workers do not come.
    """
    cluster = from_slurm(port) if resolver == "slurm" else from_tf_config()
    spec = cluster.cluster_spec()
    jobs = [job for job in ("chief", "worker") if job in spec.jobs]
    leader = f"/job:{jobs[0]}/replica:0/task:0"
    coordinate(leader, {job: spec.num_tasks(job) for job in jobs}, HEARTBEAT_SECONDS)
    workers = [address for job in jobs for address in spec.job_tasks(job)]
    meet(workers, workers.index(spec.task_address(cluster.task_type, cluster.task_id)), start_seconds)
    return tf.distribute.MultiWorkerMirroredStrategy(cluster)


def from_tf_config() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The cluster and this process's place in it, as TF_CONFIG says."""
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        workers, place = config["cluster"], config["task"]
        if place["type"] not in ("chief", "worker"):
            raise ValueError(place["type"])
        workers[place["type"]][place["index"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            "trainer/strategy=multi_worker needs TF_CONFIG, such as "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}; '
            f"it is {os.environ.get('TF_CONFIG', 'not set')}"
        ) from error
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def from_slurm(port: int) -> tf.distribute.cluster_resolver.ClusterResolver:
    """The tasks of the job step that runs this, each on the GPUs that Slurm lets it see."""
    try:
        # Slurm's resolver shares out GPUs, and finds no tasks on a host without; so it is told of plenty.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=10**6, gpus_per_task=1, auto_set_gpu=False
        )
        spec = resolver.cluster_spec()
    except RuntimeError as error:
        raise UserError(f"trainer/strategy=multi_worker, trainer.strategy.resolver=slurm: {error}") from error
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec,
        task_type=resolver.task_type,
        task_id=resolver.task_id,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )


def meet(workers: Sequence[str], place: int, seconds: float) -> None:
    """Wait until all `workers` (addresses) are there: each tells the first, which then lets all go on.

    TensorFlow would wait for ever, deaf to signals. Raises UserError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    if place == 0:
        _await_workers(workers, deadline)
        return
    host, _, port = workers[0].rpartition(":")
    while not _tell_first((host, int(port)), place, deadline):
        if time.monotonic() > deadline:
            raise UserError(
                f"the first worker, {workers[0]}, is not there; see trainer.strategy.start_seconds"
            )
        time.sleep(0.1)


def _await_workers(workers, deadline):
    missing, here = set(range(1, len(workers))), []
    with socket.create_server(("", int(workers[0].rpartition(":")[2]))) as server, ExitStack() as stack:
        while missing:
            server.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                missing.discard(int.from_bytes(connection.recv(4), "big"))
            except TimeoutError as error:
                names = ", ".join(workers[place] for place in sorted(missing))
                raise UserError(
                    f"no word of the workers {names}; see trainer.strategy.start_seconds"
                ) from error
            here.append(connection)
        for connection in here:
            connection.sendall(b"go")
        for connection in here:
            connection.recv(1)  # who closes first keeps the port for a while: that must not be this end


def _tell_first(address, place, deadline):
    """Whether the first worker answered in time."""
    try:
        with socket.create_connection(address, max(0.001, deadline - time.monotonic())) as connection:
            connection.sendall(place.to_bytes(4, "big"))
            return connection.recv(2) == b"go"
    except OSError:
        return False


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    return strategy.extended.should_checkpoint


@contextmanager
def workers_stay(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Makes a UserError of what TensorFlow raises when another worker is gone."""
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
        if not isinstance(error, (*lost, tf.errors.DeadlineExceededError)):
            raise
        raise UserError(
            "another worker is gone, see what it said\n"
            "start all of them again to go on from the last checkpoint"
        ) from error


def everyone(strategy: tf.distribute.Strategy, value: Any) -> list[Any]:
    """What each process gives as `value`, in their order, the chief first; all must call it.

    `value` is anything that JSON can hold. Raises UserError if a worker is gone.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return [value]
    text = tf.constant([*json.dumps(value).encode(), ord("\n")], tf.int32)  # collectives know no bytes
    with workers_stay(strategy):
        gathered = _gathering(strategy)(text).numpy()
    lines = bytes(gathered.tolist()).splitlines()
    return [json.loads(line) for line in lines[:: len(strategy.extended.worker_devices)]]


@functools.cache
def _gathering(strategy):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], jit_compile=False)
    def gather(text):
        return strategy.gather(strategy.run(tf.identity, (text,)), axis=0)

    return gather
