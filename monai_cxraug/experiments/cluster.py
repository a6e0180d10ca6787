"""The stages of a plan on many processes or machines, by dask.distributed (the extra ``cluster``)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.experiments.plan import StagePlan
from monai_cxraug.experiments.stages import Hand

if TYPE_CHECKING:
    from distributed import Client

#: workers that a stage may lose before it is given up; it goes on from its checkpoint on the next one.
_DEATHS: Final = 5
#: time for a scheduler to answer.
PATIENCE = "20s"
_LOCAL = re.compile(r"local\[([1-9]\d*)\]")


def run_on(scheduler: str, hand: Hand, say: Callable[[str], None]) -> None:
    """Do every stage of a plan on a cluster, each when those that it needs are done.

    A stage whose worker dies is given to another one, which goes on from its last checkpoint. The results equal those
    of one process: each stage pins its number of threads and draws from its own seeds.

    Args:
        scheduler: ``local[N]`` for N processes of this machine, one stage each at a time; or the address of a dask
            scheduler, such as ``tcp://host:8786``, whose workers have this package and see the run's folder under the
            same path. Give its workers one thread each; one worker a GPU uses all GPUs of a node.
        hand: what does the stages.
        say: called with one line a stage, when it is done.

    Raises:
        ConfigError: dask.distributed is not installed, or the scheduler is neither.
        InputError: nothing answers at the address, or workers died over a stage.
        CxrAugError: a stage met a reason the user can mend; stages that are done stay.
    """
    with _client(scheduler) as client:
        stages = {one.id: one for one in hand.plan.stages()}
        futures: dict[str, Any] = {}
        for name, one in stages.items():
            needed = [futures[need] for need in hand.plan.needs(one) if need in futures]
            futures[name] = client.submit(_do, hand, one, *needed, key=f"{name}-{one.key}", pure=False)
        try:
            _watch(futures, stages, say)
        finally:
            client.cancel(list(futures.values()))  # the rest, where one has failed


def _do(hand: Hand, one: StagePlan, *needed: object) -> float | None:
    """Do one stage on a worker: seconds, or None where it was done before."""
    begun = time.monotonic()
    try:
        worked = hand.do(one)
        return time.monotonic() - begun if worked else None
    except CxrAugError as error:
        refused = type(error)(error.where, error.rule, error.found, error.mend)
    raise refused  # what others wrapped around it holds it, and a ring of exceptions cannot be pickled


def _watch(futures: dict[str, Any], stages: dict[str, StagePlan], say: Callable[[str], None]) -> None:
    from distributed import KilledWorker, as_completed

    from monai_cxraug.experiments.runner import title

    names = {future.key: name for name, future in futures.items()}
    for number, future in enumerate(as_completed(futures.values()), start=1):
        name = names[future.key]
        try:
            seconds = future.result()
        except KilledWorker as error:
            rule = f"workers must survive it; {_DEATHS} died over it"
            mend = "look into the workers' logs: too little memory is the usual reason; the same command goes on"
            raise InputError(title(stages[name]), rule, error.last_worker, mend) from None
        took = "done before" if seconds is None else f"{seconds:.0f} s"
        say(f"[{number}/{len(stages)}] {title(stages[name])}: {took}")


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    try:
        import dask
        from distributed import Client
    except ImportError:
        mend = "pip install 'monai-cxraug[cluster]', or leave --scheduler out"
        raise ConfigError(f"--scheduler {scheduler}", "needs dask.distributed", "not installed", mend) from None
    local = _LOCAL.fullmatch(scheduler)
    if not local and "://" not in scheduler and ":" not in scheduler:
        rule, mend = "must be local[N] or an address", "for example local[2] or tcp://host:8786"
        raise ConfigError("--scheduler", rule, repr(scheduler), mend)
    with dask.config.set({"distributed.scheduler.allowed-failures": _DEATHS}):
        if local:
            with _local(int(local[1])) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            mend = "start it with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
            raise InputError(f"--scheduler {scheduler}", "a dask scheduler must answer", error, mend) from None
        with client:
            yield client


def _local(workers: int) -> Any:
    """Processes of this machine; no page to watch them, as a report would need none, and no port is opened."""
    from distributed import LocalCluster

    # a worker that torch keeps from ending within seconds is killed: its stage is done, and nobody need read of it
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
        silence_logs=logging.ERROR,
    )
