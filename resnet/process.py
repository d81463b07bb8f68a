"""What a process knows of itself, and of the code it runs."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("tensorflow", "keras", "hydra-core", "numpy")
MEMORY, GROUPS, CGROUP = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory() -> int | None:
    """The most memory in bytes that this process has held at once, since `forget_peak_memory` on Linux."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    with suppress(OSError, StopIteration):
        return 1024 * next(int(words[1]) for words in _status() if words[0] == "VmHWM:")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak_memory() -> None:
    """Let `peak_memory` count from here on, as for the next job of a sweep; only Linux can.

    What earlier jobs left is given back to the system first.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # glibc's own
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        CLEAR_REFS.write_text("5", "ascii")  # proc(5): resets the peak resident set size


@cache
def cpu_words() -> frozenset[str]:
    """The words of Linux' description of the CPU; elsewhere none."""
    with suppress(OSError):
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    return frozenset()


def available_memory() -> int:
    """Bytes that this process can still take: what is free, within the limits that it is under."""
    if sys.platform == "win32":
        import psutil

        return psutil.virtual_memory().available
    found = []
    with suppress(OSError, StopIteration):
        lines = MEMORY.read_text("ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ImportError):
        import resource

        taken = {words[0]: words[1] for words in _status() if words[0] in ("VmSize:", "VmData:")}
        for kind, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
            if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
                found.append(limit - 1024 * int(taken[name]))
    return min([*found, *_left_in_groups()])


def _left_in_groups():
    """What the control groups of this process, cgroups(7), leave it; in a container its own is the root."""
    with suppress(OSError):
        for line in GROUPS.read_text("utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            for folder in {CGROUP / controllers / name.lstrip("/"), CGROUP / controllers}:
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
                limit, usage = names if controllers else ("memory.max", "memory.current")
                with suppress(OSError, ValueError, StopIteration):  # no limit is "max", no number
                    lines = (folder / "memory.stat").read_text("ascii").splitlines()
                    cached = next(int(n.split()[1]) for n in lines if n.startswith("inactive_file "))
                    left = int((folder / limit).read_text("ascii")) - int((folder / usage).read_text("ascii"))
                    yield left + cached


def resident_memory(process: int) -> int | None:
    """Bytes that the process of this id holds, 0 if it is gone; only Linux says it."""
    if not STATUS.exists():
        return None
    try:
        lines = [line.split() for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines()]
        return 1024 * next((int(words[1]) for words in lines if words[0] == "VmRSS:"), 0)
    except OSError:
        return 0


def cores() -> int:
    """Number of CPU cores that this process may use; where the system does not say, all of them."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have no such call
        return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python's, and those of the packages that decide what a run does, as far as they say them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(Exception):
            found[package] = version(package)
    return found


def git_commit(path: str | Path) -> str | None:
    """Commit of the checkout that the file or directory `path` lies in, or None: whatever may be wrong."""
    directory = path if Path(path).is_dir() else Path(path).parent
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}  # as in a hook of another repository
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    command = ["git", "-C", str(directory), "rev-parse", "--verify", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, env=environment, timeout=10, check=True)
        return found.stdout.decode("ascii").strip()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def resume_command(directory: str | Path) -> str:
    """The line for a shell that goes on with the run or sweep in `directory`, from any working directory."""
    script = ROOT / "train.py"
    installed = Path(sys.executable).with_name("resnet-train")
    program = [sys.executable, str(script)] if script.is_file() else [str(installed)]
    line = [*program, f"resume={os.path.abspath(directory)}"]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def hours(seconds: float) -> str:
    """`27:03:05` for 97,385 seconds: hours, which may be more than a day's, minutes and seconds."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def _status():
    return [line.split() for line in STATUS.read_text("utf-8").splitlines() if line]
