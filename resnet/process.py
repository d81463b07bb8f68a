"""What a process knows of itself."""

import resource
import subprocess
from pathlib import Path


def git_commit(path):
    """Commit of the checkout that `path` lies in, or None."""
    try:
        command = ["git", "-C", str(Path(path).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None


def hours(seconds):
    """As 27:03:05."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def peak_memory():
    """Of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
