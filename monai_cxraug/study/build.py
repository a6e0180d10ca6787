"""What ``cxraug study build`` and ``study_build.json`` run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, content_hash, locked
from monai_cxraug.console import announce, deliver, progress_bar
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.errors import ConfigError, LeakageError, StateError
from monai_cxraug.study.changes import Changes
from monai_cxraug.study.files import IMAGES, STUDY, Study, Trial
from monai_cxraug.study.patches import Patches
from monai_cxraug.study.trials import Counts, TrialMaker, add_repeats, name_trials
from monai_cxraug.synthesis.distorters import Distorter, load_distorters

#: smallest side of a picture that all distortions take.
_SMALLEST: Final = 40
_NAME: Final = 16


@dataclass(frozen=True)
class BuildStudy:
    """``cxraug study build``: distort images of a manifest and lock the trials that readers will be asked.

    Equal settings and inputs give the same study, to the byte on the same machine.

    Args:
        manifest: of the images, or its folder.
        out: folder to fill.
        title: that readers see.
        split: keep images of this split; None keeps every one.
        where: keep rows whose columns have these values.
        size: side of the pictures in pixels.
        whole: show whole images, averaged to ``size``; else parts in full resolution.
        choices: forced choices that count.
        pairs: pairs that count.
        pictures: pictures of *real or synthetic?* that count; needs ``synthetic``.
        networks: folder of ``cxraug study networks``; without it all distortions are traditional.
        synthetic: a synthetic set, its folder or manifest.
        repeats: share of the trials that are asked again the other way round.
        sentinels: trials with a known answer, as a share of those that count.
        training: trials of each task before all others.
        per_reader: trials that count of one reader, at most; None asks all.
        display_ms: how long each picture of a pair is shown.
        gap_ms: between the two.
        seed: of everything that is drawn.
    """

    manifest: str | Path
    out: str | Path
    title: str = "Perceptual study"
    split: str | None = None
    where: Where | None = None
    size: int = 64
    whole: bool = False
    choices: int = 120
    pairs: int = 80
    pictures: int = 0
    networks: str | Path | None = None
    synthetic: str | Path | None = None
    repeats: float = 0.1
    sentinels: float = 0.1
    training: int = 4
    per_reader: int | None = None
    display_ms: int = 1000
    gap_ms: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings out of range before anything is read."""
        least = {"size": _SMALLEST, "choices": 0, "pairs": 0, "pictures": 0, "training": 0, "seed": 0}
        for name, low in {**least, "display_ms": 50, "gap_ms": 0, "per_reader": 1}.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < low):
                raise ConfigError(name, f"must be a whole number of at least {low}", repr(value), f"mend {name}")
        for name in ("repeats", "sentinels"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, "must be a share in [0, 1]", getattr(self, name), f"mend {name}")
        if not self.choices + self.pairs + self.pictures:
            raise ConfigError("choices", "at least one trial must be asked", "none", "give --choices 120")
        if self.pictures and not self.synthetic:
            raise ConfigError("pictures", "needs synthetic images", "none", "give --synthetic SET")

    def run(self) -> Path:
        """Build, show progress and return the folder; what was built by the same settings is left as it is.

        Raises:
            InputError: images, networks or the synthetic set cannot be read, or too few are left.
            LeakageError: an image outside of the synthetic set is not real.
            StateError: the folder holds another study, or another process builds there.
        """
        out = Path(self.out)
        inputs = _Inputs(self)
        request = {**_plain(asdict(self)), "inputs": inputs.hashes}
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            if (out / STUDY).exists():
                _require_same(Study.load(out), request)
            else:
                study = self._build(out, inputs, request)
                announce(describe(study))
        deliver(out)
        return out

    def _build(self, out: Path, inputs: _Inputs, request: Mapping[str, Any]) -> Study:
        writer = _Pictures(out / IMAGES, self.seed)
        changes = Changes(self._rng("changes"), inputs.networks)
        patches = Patches(inputs.rows, self.size, self.whole, self._rng("patches"), inputs.avoided)
        maker = TrialMaker(patches, changes, writer.keep, self._rng("sides"))
        tasks = []
        for counts, made in self._tasks(maker, inputs):
            trials = self._followed(made, counts)
            tasks.append([*trials, *add_repeats(trials, counts.repeats, self._rng("repeats", trials[0].task))])
        named = name_trials(tasks, self._rng("names"))
        return Study.write(out, self._info(named, request), named)

    def _tasks(self, maker: TrialMaker, inputs: _Inputs) -> Iterator[tuple[Counts, Iterator[Trial]]]:
        """The trials of each task that is asked, without repeats."""
        shares = self.repeats, self.sentinels, self.training
        if self.choices:
            counts = Counts.of(self.choices, *shares)
            yield counts, maker.forced_choices(counts)
        if self.pairs:
            counts = Counts.of(self.pairs, *shares)
            yield counts, maker.pairs(counts)
        if self.pictures and inputs.synthetic is not None:
            counts = Counts.of(self.pictures, self.repeats, 0, self.training)
            yield counts, maker.real_or_synthetic(counts, *self._both(inputs.synthetic))

    def _followed(self, made: Iterator[Trial], counts: Counts) -> list[Trial]:
        """Take all trials of a task, showing progress."""
        trials: list[Trial] = []
        show = progress_bar("trials")
        for trial in made:
            trials.append(trial)
            show(len(trials), counts.judged + counts.sentinels + counts.training)
        return trials

    def _both(self, synthetic: PackRows) -> tuple[Patches, Patches]:
        """Real and synthetic whole images of the same findings, in the same size."""
        made = Patches(synthetic, self.size, True, self._rng("synthetic"))
        real = PackRows(self.manifest, self.split, self.where)
        shown = sorted(set(made.findings) & set(real.findings))
        if shown:
            real.keep((real.manifest.label_matrix(shown) == 1).any(axis=1), f"positive for {' or '.join(shown)}")
        return Patches(real, self.size, True, self._rng("real")), made

    def _info(self, trials: Sequence[Trial], request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "title": self.title,
            "seed": self.seed,
            "tasks": sorted({trial.task for trial in trials}),
            "size": self.size,
            "whole": self.whole,
            "display_ms": self.display_ms,
            "gap_ms": self.gap_ms,
            "per_reader": self.per_reader,
            "counts": count_trials(trials),
            "request": dict(request),
        }

    def _rng(self, *purpose: str) -> np.random.Generator:
        """Draws of one purpose never depend on how many another has taken."""
        digest = hashlib.sha256("\n".join(purpose).encode()).digest()
        return np.random.default_rng([self.seed, *digest[:8]])


class _Inputs:
    """What a study is built from, read and checked."""

    def __init__(self, settings: BuildStudy) -> None:
        self.rows = PackRows(settings.manifest, settings.split, settings.where)
        _require_real(self.rows)
        self.networks: list[Distorter] = load_distorters(settings.networks) if settings.networks else []
        self.avoided = frozenset().union(*(network.patients_seen for network in self.networks))
        self.synthetic = PackRows(settings.synthetic) if settings.synthetic else None
        for rows in (self.rows, self.synthetic):
            if rows is not None:
                rows.pack.require_channels(1)  # distortions, distances and pages are those of radiographs

    @property
    def hashes(self) -> dict[str, Any]:
        """Content of all that goes in."""
        found: dict[str, Any] = {"manifest": self.rows.manifest.hash()}
        if self.networks:
            found["networks"] = [network.hash for network in self.networks]
        if self.synthetic is not None:
            found["synthetic"] = self.synthetic.manifest.hash()
        return found


class _Pictures:
    """Writes pictures under names that tell nothing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed, self.count = folder, seed, 0

    def keep(self, picture: NDArray[np.uint8]) -> str:
        """Write one and return its name."""
        from PIL import Image

        name = hashlib.sha256(f"{self.seed}\npicture\n{self.count}".encode()).hexdigest()[:_NAME]
        self.count += 1
        with atomic_path(self.folder / f"{name}.png") as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
        return name


def count_trials(trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """Count trials by task, role, family, finding and view."""
    keys = ("task", "role", "family", "finding", "view")
    return {key: dict(sorted(Counter(str(getattr(trial, key)) for trial in trials).items())) for key in keys}


def describe(study: Study) -> str:
    """What was built, in one line."""
    counts = study.info["counts"]
    parts = [f"{number} {name}" for key in ("task", "role") for name, number in counts[key].items()]
    patients = len({trial.patient_id for trial in study.trials})
    return (
        f"{len(study.trials)} trials of {patients} patients: {', '.join(parts)}; {len(study.info['images'])} pictures"
    )


def _require_real(rows: PackRows) -> None:
    sources = rows.manifest["source"][rows.rows]
    if unreal := sorted(set(sources[sources != "real"])):
        rule, mend = "a study shows real images, and synthetic ones by --synthetic", "choose with --where source=real"
        raise LeakageError(rows.manifest.path, rule, ", ".join(unreal), mend)


def _require_same(study: Study, request: Mapping[str, Any]) -> None:
    before = study.info.get("request", {})
    if content_hash(before) != content_hash(dict(request)):
        keys = [key for key in request if before.get(key) != request[key]]
        rule, mend = "a study is not changed once it is built", "choose another folder"
        raise StateError(study.folder, rule, f"other {', '.join(keys)}", mend)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide what is built: not where it lies."""
    places = ("manifest", "out", "networks", "synthetic")
    kept = {key: value for key, value in settings.items() if key not in places}
    return {**kept, "where": dict(kept["where"] or {})}
