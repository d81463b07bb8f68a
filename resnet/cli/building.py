"""What went wrong where Hydra built a node, in a line that names the node and what its target takes."""

import inspect
import re
import traceback
from difflib import SequenceMatcher

from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object

from resnet.cli.ranges import PLACES
from resnet.errors import first_line

CALL = re.compile(
    r"Error in call to target '(?P<target>[^']+)':\n.*?(?:\nfull_key: (?P<key>\S+))?", re.DOTALL
)
UNKNOWN = re.compile(r"(?:unexpected keyword argument|not recognized:) \{?'(\w+)'")


LOCATE = re.compile(r"Error locating target '(?P<target>[^']+)'.*?(?:\nfull_key: (?P<key>\S+))?", re.DOTALL)


def explain(error: InstantiationException) -> str | None:
    """The line for a target that is not there, or that could not be called, or None."""
    if found := LOCATE.fullmatch(str(error)):
        return f"{found['key'] or 'a node'}._target_={found['target']}: {_why_not(error)}"
    return _of_call(error)


def _why_not(error):
    """What kept a target from being imported: the error at the bottom, where it stands in a file."""
    while error.__cause__:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames[-1:] if not f.filename.startswith("<") and "site-packages" not in f.filename]
    place = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in own)
    return f"{type(error).__name__}: {first_line(error)}{place}"


def _of_call(error):
    """The line for a TypeError or ValueError of the call, or None; names nearest to a wrong one first."""
    call, cause = CALL.fullmatch(str(error)), error.__cause__
    if call is None or not isinstance(cause, TypeError | ValueError):
        return None
    target, key = call["target"], call["key"] or call["target"]
    key = re.sub(rf"\b({'|'.join(PLACES)})(\d+)", r"\1.\2", key)  # Hydra leaves the dot out
    name = target.rpartition(".")[2]
    try:
        names = _names(target)
    except (HydraException, TypeError, ValueError):  # some functions of C show no signature
        return None
    unknown = UNKNOWN.search(str(cause))
    if unknown and unknown[1] not in names:
        names.sort(key=lambda known: -SequenceMatcher(None, unknown[1], known).ratio())
        return f"{key}.{unknown[1]}: {name} takes no {unknown[1]}; it takes {', '.join(names) or 'nothing'}"
    text = "; ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    return f"{key}: {text}; {name} takes {', '.join(names) or 'nothing'}"


def _names(target):
    """Of what can be given by keyword."""
    parameters = inspect.signature(get_object(target)).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
