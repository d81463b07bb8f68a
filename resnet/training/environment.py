"""What a training sets for its whole process: threads, precision, determinism and seeds."""

from __future__ import annotations

import logging
import os
import platform

import keras
import tensorflow as tf

from resnet.process import cores, cpu_words, git_commit, versions
from resnet.training.distribution import use_threads

log = logging.getLogger(__name__)
# What oneDNN and Eigen choose their arithmetic by, and the variables that tell oneDNN otherwise.
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
FEATURES = {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "bf16", "sve", *BFLOAT16}
ONEDNN = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def prepare(
    seed: int = 0, threads: int | None = None, precision: str = "float32", deterministic: bool = False
) -> None:
    """Set what holds for the process; to be called before a strategy, a model or an optimizer is made.

    Args:
        seed: of initial weights and of whatever draws without a seed of its own.
        threads: TensorFlow's; None leaves the number to it.
        precision: `float32`; `bfloat16` or `float16`, with weights, statistics and loss in float32; `auto`
            takes bfloat16 where the hardware has it.
        deterministic: whether the same seed gives the same weights to the last bit, which costs speed.

    Raises UserError where TensorFlow runs already, on another number of threads.
    """
    if threads:
        use_threads(threads)
    if precision == "auto":
        native = native_bfloat16()
        precision = "bfloat16" if native else "float32"
        log.info("precision auto: %s; bfloat16 hardware: %s", precision, native or "none")
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def precision_in_force() -> str:
    """`float32`, `bfloat16` or `float16`: what a model that is built now computes in."""
    return keras.config.dtype_policy().compute_dtype


def native_bfloat16() -> str | None:
    """What gives the device that trains bfloat16 arithmetic of its own, or None."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability", (0, 0))
        return f"compute capability {'.'.join(map(str, capability))}" if capability >= (8, 0) else None
    return " and ".join(sorted(cpu_words() & BFLOAT16)) or None


def circumstances(strategy: tf.distribute.Strategy) -> dict[str, str | int | None]:
    """What the last bits of a training depend on besides its configuration, texts and numbers by name.

    `threads` are those of TensorFlow, be they its own choice.
    """
    threads = tf.config.threading.get_inter_op_parallelism_threads() or cores()
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        **versions(),
        "commit": git_commit(__file__),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": " ".join(sorted(cpu_words() & FEATURES)),
        "gpus": ", ".join(str(details.get("device_name")) for details in gpus),
        **{name: os.environ.get(name) for name in ONEDNN},
        "precision": precision_in_force(),
        "threads": threads,
        "replicas": strategy.num_replicas_in_sync,
    }
