"""What ``cxraug study report`` and ``study_report.json`` run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import write_csv, write_json
from monai_cxraug.console import announce, deliver, progress_bar
from monai_cxraug.errors import ConfigError
from monai_cxraug.study.analysis import Analysis, Draws
from monai_cxraug.study.distances import Distance, Pictures, lpips_distance, pixel_distances
from monai_cxraug.study.files import Study, Trial
from monai_cxraug.study.judgements import Judgements
from monai_cxraug.study.learned import Differences, Fitting, Ruler, linear_distance, plain_distance, tuned_distance
from monai_cxraug.study.report.language import find_language
from monai_cxraug.study.report.page import RESULTS, SCHEMA, write_page

DISTANCES: Final = "distances.csv"
#: forced choices with an answer from which on something is learnt.
LEAST_TAUGHT: Final = 20
#: readers from which on no word of caution is said.
_FEW_READERS: Final = 5

Warnings = list[dict[str, Any]]


@dataclass(frozen=True)
class ReportStudy:
    """``cxraug study report``: what the readers saw, and which distance sees it too.

    Args:
        study: folder of the study.
        answers: folder, or folders of several sites, with ``answers.csv`` and ``readers.csv``.
        out: folder to fill with ``results.json``, ``distances.csv`` and ``index.html``.
        models: classifiers, ``NAME=PLACE`` or a place each; the first is compared with SSIM.
        lpips: ``alex=FILE``, ``vgg=FILE`` or ``squeeze=FILE``: LPIPS with a local file of that network's weights.
        language: code of the language of the page.
        learn: whether channel weights are learnt from the judgements.
        tuned_epochs: passes in which a whole classifier learns from the judgements; 0 leaves that out.
        replicates: bootstrap samples.
        seed: of the bootstrap and of learning.

    Raises:
        ConfigError: the page is not written in that language, or there are no replicates.
    """

    study: str | Path
    answers: Sequence[str | Path] | str | Path
    out: str | Path
    models: Sequence[str] | str = ()
    lpips: str | None = None
    language: str = "en"
    learn: bool = True
    tuned_epochs: int = 0
    replicates: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be done before anything is computed."""
        find_language(self.language)
        if self.replicates < 1:
            raise ConfigError("--replicates", "must be at least 1", self.replicates)

    def run(self) -> Path:
        """Analyse, write, and return the page."""
        study = Study.load(self.study)
        judgements = Judgements.collect(study, _several(self.answers))
        analysis = Analysis(judgements, Draws(self.replicates, self.seed))
        distances, warnings = self._distances(analysis)
        document = analysis.document(distances)
        out = Path(self.out)
        write_distances(out / DISTANCES, distances, [*analysis.choices, *analysis.pairs])
        warnings = [*warn(analysis), *warnings]
        content = {**document, "warnings": warnings, "answers": dict(judgements.hashes)}
        write_json(out / RESULTS, SCHEMA, content)
        page = write_page(out, study.folder, self.language)
        announce(_summary(document))
        deliver(page)
        return page

    def _distances(self, analysis: Analysis) -> tuple[list[Distance], Warnings]:
        trials = [*analysis.choices, *analysis.pairs]
        if not trials:
            return [], []
        pictures = Pictures(analysis.judgements.study)
        found, small = pixel_distances(pictures, trials, progress_bar("distances"))
        warnings: Warnings = [{"what": "small", "values": {"names": ", ".join(small)}}] if small else []
        for given in [self.models] if isinstance(self.models, str) else self.models:
            ruler = Ruler.load(given)
            if ruler.name in {one.name for one in found}:
                raise ConfigError("--model", "names must differ", repr(ruler.name), "write NAME=PLACE")
            more, said = self._of_classifier(ruler, analysis, pictures, trials)
            found, warnings = [*found, *more], [*warnings, *said]
        if self.lpips:
            found.append(lpips_distance(self.lpips, pictures, trials))
        return found, warnings

    def _of_classifier(
        self, ruler: Ruler, analysis: Analysis, pictures: Pictures, trials: Sequence[Trial]
    ) -> tuple[list[Distance], Warnings]:
        """The distance as it is, and what can be learnt."""
        differences = Differences.of(ruler, pictures, trials, progress_bar(ruler.name))
        found = [plain_distance(ruler, differences)]
        warnings = _about(ruler, pictures, trials)
        if not self.learn:
            return found, warnings
        if reason := _too_little(analysis.choices):
            return found, [*warnings, {"what": "not_learnt", "values": {"name": ruler.name, **reason}}]
        how = Fitting(tuned_epochs=self.tuned_epochs, seed=self.seed)
        taught, shares = analysis.choices, analysis.shares
        found.append(linear_distance(ruler, differences, trials, taught, shares, how))
        if self.tuned_epochs:
            found.append(tuned_distance(ruler, pictures, trials, taught, shares, how))
        return found, warnings


def write_distances(path: Path, distances: Sequence[Distance], trials: Sequence[Trial]) -> None:
    """Write the distances of every trial: ``first`` and ``second`` to the reference, or ``first`` between a pair."""
    rows = (
        [trial.trial, one.name, one.first[trial.trial], one.second.get(trial.trial, "")]
        for one in distances
        for trial in trials
    )
    write_csv(path, ["trial", "distance", "first", "second"], rows)


def warn(analysis: Analysis) -> Warnings:
    """What should be held against an analysis, as keys and values for the page."""
    readers = len(analysis.readers)
    unseen = [one.reader for one in analysis.records if not one.excluded and not one.sentinels]
    families = {one.family for one in analysis.choices}
    said: Warnings = []
    if readers == 1:
        said.append({"what": "one_reader", "values": {}})
    elif readers < _FEW_READERS:
        said.append({"what": "few_readers", "values": {"count": readers}})
    if unseen:
        said.append({"what": "no_sentinels", "values": {"names": ", ".join(unseen)}})
    if len(families) == 1:
        said.append({"what": "one_family", "values": {}})
    return said


def _about(ruler: Ruler, pictures: Pictures, trials: Sequence[Trial]) -> Warnings:
    said: Warnings = []
    if seen := ruler.seen(trials):
        said.append({"what": "seen", "values": {"name": ruler.name, "count": seen}})
    shown = sorted({pictures(image).shape[-1] for trial in trials for image in trial.shown})
    size = ruler.model.about.get("size")
    if size and shown != [size]:
        values = {"name": ruler.name, "size": size, "shown": ", ".join(map(str, shown))}
        said.append({"what": "size", "values": values})
    return said


def _too_little(taught: Sequence[Trial]) -> dict[str, Any] | None:
    if len(taught) < LEAST_TAUGHT:
        return {"reason": "trials", "least": LEAST_TAUGHT}
    if len({trial.patient_id for trial in taught}) < 2:
        return {"reason": "patients"}
    return None


def _summary(document: dict[str, Any]) -> str:
    """One line for the terminal."""
    counts, primary = document["counts"], document["primary"]
    made = f" ({len(document['simulated'])} of them all are simulated)" if document["simulated"] else ""
    said = f"{counts['readers']} readers, {counts['excluded']} left out{made}, {counts['answers']} answers"
    if primary is None:
        return f"{said}; no primary comparison"
    ends = primary["interval"]
    interval = f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else ""
    return f"{said}; {primary['distance']} less {primary['reference']}: {primary['difference']:+.3f}{interval}"


def _several(places: Sequence[str | Path] | str | Path) -> list[str | Path]:
    return [places] if isinstance(places, str | Path) else list(places)
