"""`tinyaot tune`: search rules and sizes for the workloads of models, and log what was found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyaot.targets import Target, TinyaotError, get_target
from tinyaot.tools.console import columns, stderr, stdout
from tinyaot.tools.npu_options import (
    ArenaSize,
    NpuConfig,
    NpuGenerator,
    NpuGoal,
    NpuMemory,
    NpuSystem,
    Optimise,
    npu_options,
)
from tinyaot.tools.options import (
    Debug,
    Optimization,
    Optimize,
    TargetName,
    Verbose,
)
from tinyaot.tools.tune_npu import tune_npu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from tinyaot.compiler.tuning.search import TaskState
    from tinyaot.compiler.tuning.signature import Signature
    from tinyaot.compiler.tuning.space import Candidate
    from tinyaot.compiler.tuning.tuner import Progress

_SHOWN_TASKS = 12
_LINE_SECONDS = 5.0
_INTERRUPTED = 130
"""The exit status of shells for what SIGINT has ended."""


class Metric(str, Enum):
    """What is minimized."""

    instructions = "instructions"
    cycles = "cycles"
    seconds = "seconds"


class Search(str, Enum):
    """How candidates are chosen."""

    model = "model"
    random = "random"
    grid = "grid"


def tune_command(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL...", help="Quantized .tflite or .onnx files.", show_default=False
        ),
    ] = None,
    target: TargetName = "cortex-m4",
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measurements of all workloads together, those in the log included.",
            show_default="up to 64 a workload",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The log to write; an existing one is continued.",
            show_default="tuning-TARGET.jsonl",
        ),
    ] = None,
    metric: Annotated[
        Metric | None,
        typer.Option(
            help="What to minimize: instructions as the emulator counts them, cycles as a model of "
            "the core estimates them, or seconds on this machine or a board.",
            show_default="instructions; seconds on the host and on boards",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="qemu|host|BOARD",
            help="Where candidates run: the emulated core, this machine for the target host, a "
            "board, or gdb:HOST:PORT with --board.",
            show_default="qemu; host for the target host",
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(metavar="BOARD", help="The board behind a GDB server.", show_default=False),
    ] = None,
    search: Annotated[
        Search,
        typer.Option(help="Candidates: where a learned model expects the best, random, or all."),
    ] = Search.model,
    common_shapes: Annotated[
        bool,
        typer.Option(
            "--common-shapes",
            help="Tune also layers of MobileNet, DS-CNN and ResNet, and dense layers.",
        ),
    ] = False,
    workload: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="Only the core's workloads whose name holds this.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Measure only what this log, also one of another core, names the best.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that build and run.", show_default="one for each processor"
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Measure on the Dask cluster of this scheduler, such as tcp://host:8786.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Candidates of a workload that are measured in one round.")
    ] = 16,
    timeout: Annotated[
        float, typer.Option(min=0.01, help="Seconds that a candidate may run on this machine.")
    ] = 20.0,
    optimize: Optimize = Optimization.balanced,
    npu_system: NpuSystem = None,
    npu_memory: NpuMemory = None,
    npu_config: NpuConfig = None,
    optimise: Optimise = NpuGoal.performance,
    arena_size: ArenaSize = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Search the rules and sizes that compute each workload of some models fastest, on a core and
    on its NPU.

    What was measured is kept when you interrupt it; the same command goes on from there.
    `tinyaot compile --tuning-log FILE` uses what was found.
    """
    core = get_target(target)
    if not models and not common_shapes:
        raise TinyaotError("there is nothing to tune", "name one or more models")
    if dask is not None and workers is not None:
        raise TinyaotError(
            "--workers are of this machine, and --dask names a cluster", "leave out one"
        )
    on_board = on is not None and on not in ("qemu", "host")
    if on_board and dask is not None:
        raise TinyaotError("a cluster has no board", "leave out --dask")
    if on_board:
        chosen = _metric_on_board(metric, on or "", board, core)
    elif board is not None:
        raise TinyaotError("--board is what is behind a GDB server", "--on gdb:HOST:PORT")
    else:
        chosen = _metric(metric, on, core.family == "host")
    path = log or Path(f"tuning-{core.core}.jsonl")
    if core.family == "host" or on_board:
        # Two at once would time each other.
        workers = 1
    core = _configured(
        core,
        npu_options(
            npu_system, npu_memory, npu_config, optimise, arena_size, NpuGenerator.best, False
        ),
    )
    stderr().print("load the compiler ...", soft_wrap=True)
    # Here, and not above: these import TVM.
    from tinyaot.compiler import OPTIMIZE
    from tinyaot.compiler.tuning.measure import Setting
    from tinyaot.compiler.tuning.shapes import common_tasks
    from tinyaot.compiler.tuning.tasks import merge_tasks, model_graphs, model_tasks
    from tinyaot.compiler.tuning.tuner import Options, Tuner
    from tinyaot.compiler.tuning.workers import DaskWorkers, LocalWorkers

    done = None
    if core.npu is not None and workload is None:
        graphs = model_graphs(models or [])
        with _interruptible(path):
            done = tune_npu(graphs, core.npu, trials, path)
        if trials is not None and done is not None:
            trials = max(trials - done, 0)
    tasks = model_tasks(models or [], core) if trials != 0 else []
    if common_shapes:
        tasks = merge_tasks([*tasks, *common_tasks(core.core)])
    if done is not None and not tasks:
        _print_use(path)
        return
    if tasks and workload is not None:
        names = [task.name for task in tasks]
        tasks = [task for task in tasks if workload in task.name]
        if not tasks:
            raise TinyaotError(
                f"no workload's name holds {workload!r}", f"there are {'; '.join(names[:3])} ..."
            )
    if not tasks:
        raise TinyaotError(
            f"no operator of these models can be computed in more than one way on {core.core}",
            _without_tasks(core, workload),
        )
    setting = Setting(
        chosen, OPTIMIZE[optimize.value], timeout, (on or "") if on_board else "", board
    )
    options = Options(
        trials, search.value, seed, batch, setting, only=None if like is None else _best_of(like)
    )
    pool = DaskWorkers(dask) if dask else LocalWorkers(workers)
    try:
        with _interruptible(path), _shown() as report:
            states = Tuner(tasks, options, path, pool, report).run()
    finally:
        pool.close()
    stdout().print(_table(states))
    _print_use(path)


def _without_tasks(core: Target, workload: str | None) -> str:
    if core.npu is not None and core.npu.by_vela_alone:
        return f"there is nothing to tune: Vela schedules what {core.npu.name} computes"
    if core.npu is not None and workload is not None:
        return "--workload is for the core: leave it out to tune the NPU"
    return "there is nothing to tune"


@contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    """Says on Ctrl-C what the log keeps, and ends."""
    try:
        yield
    except KeyboardInterrupt:
        stderr().print(
            f"interrupted: {path} keeps what was measured, and the same command goes on from there",
            soft_wrap=True,
        )
        raise typer.Exit(_INTERRUPTED) from None


def _print_use(path: Path) -> None:
    stdout().print(f"\nwritten: {path}; to use it: tinyaot compile --tuning-log {path} ...")


def _configured(core: Target, options: dict[str, Any]) -> Target:
    """The target with the options for its NPU."""
    from tinyaot.targets.ethos_u.accelerator import configure

    if not options:
        return core
    if core.npu is None:
        raise TinyaotError(
            f"{core.name} has no NPU to set {', '.join(options)} for",
            f"name one, such as {core.name}+ethos-u55-128",
        )
    return replace(core, npu=configure(core.npu, **options))


def _best_of(path: Path) -> dict[Signature, list[Candidate]]:
    """The candidates of a log that are best for some amount of memory, by workload."""
    from tinyaot.compiler.tuning.records import read_log, useful_records
    from tinyaot.compiler.tuning.space import Candidate

    found: dict[Signature, list[Candidate]] = {}
    for record in useful_records(read_log(path).records):
        found.setdefault(record.signature, []).append(Candidate(*record.candidate))
    return found


def _metric_on_board(metric: Metric | None, where: str, board: str | None, core: Target) -> str:
    from tinyaot.compiler.tuning.boards import board_metric, find_board

    counted = board_metric(find_board(where, board, core))
    if metric not in (None, Metric(counted)):
        raise TinyaotError(f"{metric.value} are not counted on {where}", f"--metric {counted}")
    return counted


def _metric(metric: Metric | None, on: str | None, host: bool) -> str:
    if (on == "host") != host and on is not None:
        raise TinyaotError(
            f"the target {'host' if host else 'of a core'} is not tuned on {on}",
            "kernels for a core run on the emulated core: --on qemu",
            "kernels for this machine run here: --target host",
        )
    if host:
        if metric not in (None, Metric.seconds):
            raise TinyaotError(
                f"{metric.value} are not counted on this machine", "--metric seconds"
            )
        return Metric.seconds.value
    if metric == Metric.seconds:
        raise TinyaotError(
            "seconds on an emulator mean nothing", "--metric instructions or --metric cycles"
        )
    return metric.value if metric else Metric.instructions.value


class _shown:  # noqa: N801
    """Shows progress: a table that moves on a terminal, a line now and then elsewhere."""

    def __enter__(self) -> Callable[[Progress], None]:
        self._console = stderr()
        self._live = None
        self._last = -_LINE_SECONDS
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        return self._report

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _report(self, progress: Progress) -> None:
        for note in progress.notes:
            self._console.print(f"note: {note}", soft_wrap=True)
        if self._live is not None:
            self._live.update(_live_view(progress))
            return
        now = time.monotonic()
        if progress.trials < progress.total and now - self._last < _LINE_SECONDS:
            return
        self._last = now
        self._console.print(_line(progress), soft_wrap=True)


def _live_view(progress: Progress) -> RenderableType:
    from rich.console import Group

    shown = [state for state in progress.states if state.outcomes or state.pending]
    shown = shown[-_SHOWN_TASKS:]
    if progress.state is not None and progress.state not in shown:
        shown[0] = progress.state
    return Group(_line(progress), _table(shown, progress.state))


def _line(progress: Progress) -> str:
    parts = [f"{progress.trials:,} of {progress.total:,} trials"]
    if progress.rate:
        parts.append(f"{progress.rate:.1f} a second")
        parts.append(f"tuner {progress.overhead:.0%}")
    if progress.seconds_left is not None and progress.trials < progress.total:
        parts.append(f"{_duration(progress.seconds_left)} left")
    best, default = _sums(progress.states)
    if default:
        parts.append(f"{1 - best / default:.1%} saved so far")
    if progress.state is not None:
        parts.append(f"last: {progress.state.task.name}")
    return ", ".join(parts)


def _table(states: Sequence[TaskState], current: TaskState | None = None) -> RenderableType:
    table = columns("", "workload", "times>", "tried>", "default>", "best>", "saved>", "by")
    for state in states:
        best, default = state.best, state.default_cost
        table.add_row(
            ">" if state is current else "",
            state.task.name,
            str(state.task.count),
            f"{len(state.outcomes)} of {state.space.size}",
            _cost(default),
            _cost(best.cost if best else None),
            f"{1 - best.cost / default:.1%}" if best and best.cost and default else "-",
            "" if best is None or best.candidate == state.space.default else str(best.candidate),
        )
    return table


def _sums(states: Sequence[TaskState]) -> tuple[float, float]:
    """Costs of all tasks that have both, each as often as the models compute it."""
    pairs = [
        (state.task.count * state.best.cost, state.task.count * state.default_cost)
        for state in states
        if state.best and state.best.cost and state.default_cost
    ]
    return sum(best for best, _ in pairs), sum(default for _, default in pairs)


def _cost(cost: float | None) -> str:
    if cost is None:
        return "-"
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
