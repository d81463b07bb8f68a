"""Running a Hydra main so that whatever the user can mend ends in a line or two."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import re
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from glob import glob
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet.cli import building, jobs, streams
from resnet.cli import help as program_help
from resnet.cli.arguments import (
    is_multirun,
    name_in,
    parse,
    quoted,
    unparse,
    with_names,
    without_interpolation,
)
from resnet.errors import ConfigError
from resnet.files import reading
from resnet.run.directory import RunDirectory

at_end = ExitStack()  # what follows the last job, be it that some of them failed


def command(main: Callable[[], Any]) -> None:
    """Run a Hydra main; `resume=DIR` stands for the arguments that started the run in DIR.

    Paths may be written as a shell hands them over, see `arguments.with_names`. Exit code 1 after an error,
    128 plus the signal's number after an interruption.
    """
    streams.prepare()
    if "--version" in sys.argv[1:]:  # Hydra would tell its own
        print(program_help.version())
        return
    program_help.prepare(sys.argv[1:])
    # What lies beside the command is found wherever that is installed, and by launchers' processes too.
    home = str(Path(inspect.unwrap(main).__code__.co_filename).parent)
    if home not in sys.path:
        sys.path.append(home)
    path = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing
    try:
        sys.argv[1:] = read(sys.argv[1:])
        with at_end, jobs.interrupted():
            main()
    except KeyboardInterrupt as interruption:
        sys.exit(128 + getattr(interruption, "number", 2))
    except Exception as error:
        if full or not _is_users(error):
            raise
        print(_explain(_unwrapped(error)), file=sys.stderr)
        sys.exit(1)


def read(arguments: list[str]) -> list[str]:
    """The arguments as Hydra takes them: flags first, paths quoted, `resume=DIR` replaced.

    Raises ConfigError for one that is neither a flag nor says what is set.
    """
    options = parse(arguments)
    for override in options.overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"{override}: expected KEY=VALUE; --help names the keys")
    given = [a for a in options.overrides if a.startswith("resume=")]
    if given:
        options.overrides = [a for a in options.overrides if a not in given]
        resume(options, Path(os.path.abspath(name_in(given[-1]))))
    else:
        multirun = is_multirun(options)
        options.overrides = [with_names(override, multirun) for override in options.overrides]
    return unparse(options)


def resume(options: Namespace, directory: Path) -> None:
    """Add to `options` the flags and overrides that started the run, or the sweep, in `directory`.

    What is in `options` already goes before them. Changes into the working directory of that time, in which
    relative paths lie, and says so. Raises ConfigError where no run is, and UserError for a damaged
    record.
    """
    sweep, run = directory / "multirun.yaml", directory / ".hydra" / "hydra.yaml"
    record = sweep if sweep.is_file() else run
    if not record.is_file():
        raise ConfigError(f"resume={directory}: there is no run to go on with; expected {run}")
    key = "hydra.sweep.dir" if record == sweep else "hydra.run.dir"
    place = f"{key}={quoted(without_interpolation(str(directory)))}"
    with reading(record, f"give once more what it was started with, and {place}"):
        sources, config_name, cwd, before = _started(yaml.safe_load(record.read_text("utf-8"))["hydra"])
    if options.config_dir:
        options.config_dir = os.path.abspath(options.config_dir)
    options.config_dir = options.config_dir or sources.get("command-line")
    if "main" in sources and not _is_ours(Path(sources["main"])):
        options.config_path = options.config_path or sources["main"]
    options.config_name = options.config_name or config_name
    shows = options.cfg or options.info or options.shell_completion  # which Hydra refuses beside --multirun
    options.multirun = record == sweep and not shows
    base = _change_to(cwd)
    now = [with_names(override, record == sweep, base) for override in options.overrides]
    options.overrides = _last_of_each(before, [*now, place])


def _started(hydra):
    """Of Hydra's record: folders of configurations by who gave them, name, working directory, overrides."""
    sources = {source["provider"]: source["path"] for source in hydra["runtime"]["config_sources"]}
    overrides = [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]
    return sources, hydra["job"]["config_name"], hydra["runtime"]["cwd"], overrides


def _is_ours(directory):
    """Whether `directory` is the conf/ of this program, perhaps in another checkout."""
    return (directory / "hydra" / "help" / "resnet.yaml").is_file()


def _change_to(directory):
    """Change into `directory`; the working directory until then if it was another, else ""."""
    before = os.getcwd()
    if directory == before:
        return ""
    if not os.path.isdir(directory):
        print(f"the run began in {directory}, which is gone: relative paths start here", file=sys.stderr)
        return ""
    print(f"relative paths start in {directory}, where the run began", file=sys.stderr)
    os.chdir(directory)
    return before


def _last_of_each(before, now):
    """The overrides of both, without what was given `before` for a key that is given `now`."""
    # Changes were allowed that time only; the mode is in the flags, the place in what is given now.
    again = {"changes", "hydra.mode", "hydra.run.dir", "hydra.sweep.dir"}
    again |= {override.partition("=")[0] for override in now}
    return [override for override in before if override.partition("=")[0] not in again] + now


def told() -> set[str]:
    """The keys, and groups, that the command line sets."""
    return {override.lstrip("+").partition("=")[0] for override in HydraConfig.get().overrides.task}


def finished_run(config: DictConfig) -> Path:
    """The directory `config.run`. Raises ConfigError, or UserError, unless a finished run lies there."""
    return RunDirectory.finished(named_run(config)).path


def named_run(config: DictConfig) -> str:
    """`config.run`. Raises ConfigError where it is missing."""
    if OmegaConf.is_missing(config, "run"):
        raise ConfigError("run is missing: give run=DIR, the directory of a run")
    return str(config.run)


def run_config(config: DictConfig, directory: Path, text: str | None = None) -> DictConfig:
    """The configuration of the run in `directory`, or that in `text`, YAML, with the data of `config`.

    `config.data` is a data node of its own, or what changes in that of the run. Raises ConfigError where that
    has none.
    """
    files = RunDirectory(directory)
    own = OmegaConf.create(text or files.config_text())
    run: Any = OmegaConf.merge({"seed": files.result().get("seed", 0)}, own)
    given = config.get("data") or {}
    if "_target_" not in given and "data" not in run:
        raise ConfigError(
            f"run={config.run}: trained from Python, it does not say on which data\n"
            "give them whole, as data=image_folder data.dir=photos"
        )
    run.data = given if "_target_" in given else OmegaConf.merge(run.data, given)
    return run


def check_run_directory(config: DictConfig) -> None:
    """Raise ConfigError if workers would each name the run after the time at which they started."""
    hydra = HydraConfig.get()
    key = "hydra.run.dir" if hydra.mode == RunMode.RUN else "hydra.sweep.dir"
    named = any(override.startswith(f"{key}=") for override in hydra.overrides.hydra)
    if config.trainer.strategy._target_ == "resnet.training.distribution.multi_worker" and not named:
        raise ConfigError(f"trainer/strategy=multi_worker needs {key}=DIR, the same for all workers")


def import_keras() -> ModuleType:
    """Keras, set as `resnet.backend` says, without its plots and scikit-learn wrappers, which take a second.

    Nor do TensorFlow's greetings stand before the first line of a run; what it says of a GPU that it cannot
    use is let through.
    """
    streams.outlast_readers()  # in a launcher's processes too
    # Imports and graphs are millions of objects that stay: looking for garbage in them is a tenth of a start.
    gc.set_threshold(200_000)
    if "tensorflow" in sys.modules:
        from resnet import backend

        return backend.keras
    left_out = {"matplotlib", "sklearn"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]  # what is None cannot be imported
    with streams.held_back() as let_through:
        from resnet import backend  # noqa: I001  before TensorFlow, which reads Keras' settings too

        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU") and glob("/dev/nvidia[0-9]*"):
            let_through()
    for name in left_out:
        del sys.modules[name]
    return backend.keras


def threads(config: DictConfig) -> int | None:
    """Threads for TensorFlow: those given, else a job's share of the cores; None for its own choice."""
    jobs = HydraConfig.get().launcher.get("n_jobs")
    if config.threads or not jobs:
        return config.threads
    from joblib import cpu_count, effective_n_jobs

    return max(1, cpu_count() // effective_n_jobs(jobs))


def record(config: DictConfig) -> dict[str, str]:
    """What a run's `.hydra` directory holds, by file name.

    Hydra would write the same, but before anyone can see that another run lives there.
    """
    hydra = HydraConfig.get()
    return {
        "config.yaml": OmegaConf.to_yaml(config),
        "hydra.yaml": OmegaConf.to_yaml({"hydra": hydra}),
        "overrides.yaml": OmegaConf.to_yaml(hydra.overrides.task),
    }


class LogFile(logging.FileHandler):
    """A log that cannot be written ends the run; logging's own way is a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        with suppress(OSError):
            self.close()
        raise OSError(error.errno, error.strerror, self.baseFilename) from error


def _is_users(error):
    if isinstance(error, ValueError | TypeError) and _raised_in(error) in ("hydra", "omegaconf", "optuna"):
        return True  # as for model=1 and augmentation=[1], where Hydra itself expects words
    if isinstance(
        error, ConfigError | HydraException | OmegaConfBaseException | OSError | MemoryError | RecursionError
    ):
        return True
    # Named, not imported: until a run has begun, that would cost the seconds TensorFlow takes to load.
    return type(error).__name__ in ("UserError", "ResourceExhaustedError")


def _unwrapped(error):
    """What a node raised while Hydra built it, where that is for the user."""
    while isinstance(error, InstantiationException) and _is_users(error.__cause__):
        error = error.__cause__
    return error


def _raised_in(error):
    """Name of the package whose code raised the error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].partition(".")[0]


def _explain(error):
    """The error on a line or two; for an unknown key with the keys that are there, the likely one first."""
    cause: Any = error.__cause__
    key, siblings = getattr(cause, "key", None), getattr(cause, "parent_node", None)
    if isinstance(error, ConfigCompositionException) and key and siblings and key not in siblings:
        known = [name for name in siblings if name not in ("_target_", "hydra")]
        likely = get_close_matches(key, known, n=1)
        hint = f"did you mean {likely[0]}?" if likely else f"there are {', '.join(known)}"
        return f"{cause.full_key}: there is no key {key}; {hint}"
    if isinstance(error, MissingConfigException):
        text = re.sub(r"\n\t_\w+", "", str(error))  # what options share is none itself
        return text.split("\nConfig search path")[0].strip().replace("\n\n", "; ").replace("\n\t", " ")
    if isinstance(error, InstantiationException) and (line := building.explain(error)):
        return line
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out of memory; give a smaller trainer.batch_size, or model.recompute=true"
    if isinstance(error, RecursionError):
        return "the network has more layers in a row than Keras can walk; give model.stage=looped"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    clear = isinstance(error, ConfigError | HydraException | OmegaConfBaseException)
    named = clear or not isinstance(error, ValueError | TypeError)
    return text if named else f"{' '.join(sys.argv[1:])}: {text}"
