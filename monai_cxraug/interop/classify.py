"""Classify: the radiographs of an archive that this model has not reported on yet, and the reports back into it.

What is new is told by the archive: an image without the report that model and image would give it. Reports and maps
lie in a folder before they are stored, and a map is stored before the report that refers to it; so whatever is killed,
the same command goes on, and nothing is stored under two identifiers.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug.artifacts import file_hash, locked, write_csv, write_json
from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.data.readers.policy import DicomPolicy
from monai_cxraug.errors import ConfigError, CxrAugError, StateError
from monai_cxraug.interop.answers import Answers, answer_files
from monai_cxraug.interop.archive import Archive, Instance, Progress, RefusedError, Study, list_studies, present
from monai_cxraug.interop.captures import Finder, build_map, choose_findings, describe_answer, draw_map
from monai_cxraug.interop.device import Device
from monai_cxraug.interop.discretion import discreet
from monai_cxraug.interop.journal import Journal
from monai_cxraug.interop.pull import Pull, Pulled, make_private, sweep, write_dicom
from monai_cxraug.interop.queries import Query
from monai_cxraug.interop.reports import Answer, build_report
from monai_cxraug.interop.sources import describe_source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SCHEMA: Final = "cxraug.classified/1"
TABLE, ABOUT, REPORT = "classified.csv", "classified.json", "report.dcm"
#: what may have become of an image.
STORED, WRITTEN, LEFT_OUT = "stored", "written", "left out"
_JOURNAL, _LOCK, _IMAGES, _OBJECTS, _WORK = "journal.jsonl", ".classify.lock", "images", "objects", ".work"
_FACTS: Final = ("study", "state", "reason", "report")
#: images answered at a time: what a kill makes the next run do again.
_BATCH: Final = 32


@dataclass(frozen=True)
class Classified:
    """What became of the images of a query.

    Args:
        folder: that holds table, images and objects.
        before: images that had a report already.
        states: what became of the others: state to number.
        reasons: why some were left out: reason to number.
    """

    folder: Path
    before: int
    states: Mapping[str, int]
    reasons: Mapping[str, int]

    def describe(self) -> str:
        """One line for people."""
        new = ", ".join(f"{number} {state}" for state, number in sorted(self.states.items())) or "none new"
        why = "".join(f"; {number} left out: {reason}" for reason, number in self.reasons.items())
        return f"{self.before} images reported before; {new}{why}"


@dataclass(frozen=True)
class Classify:
    """Reports on what is new in an archive.

    Args:
        archive: where the images are, and where the reports go.
        device: the classifier.
        out: folder, for its owner's eyes only when it is made here.
        maps: activation maps an image, at most; 0 makes none.
        store: whether the objects go to the archive; else they stay in the folder.
        progress: called with (done, total) images.
    """

    archive: Archive
    device: Device
    out: Path
    maps: int = 1
    store: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.maps <= 100:
            raise ConfigError("--maps", "must be a whole number from 0 to 100", repr(self.maps), "give --maps 1")

    @property
    def objects(self) -> Path:
        """Folder of this model's reports and maps, one folder an image."""
        return self.out / _OBJECTS / self.device.key

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self.device)

    def run(self, query: Query) -> Classified:
        """Ask, answer, write, and store if wanted.

        Raises:
            CxrAugError: the archive does not answer or does not take an object, or the folder cannot be used. What is
                done stays done.
        """
        studies = list_studies(self.archive, query)
        new = [self._unreported(study) for study in studies]
        make_private(self.out)
        with locked(self.out / _LOCK), discreet():
            self.objects.mkdir(parents=True, exist_ok=True)
            sweep(self.objects)
            journal = Journal(self.objects / _JOURNAL)
            pulled = Pull(self.archive, self.out / _IMAGES, self.progress).run(query, new)
            refused = self._work_off(pulled, journal)
            before = sum(len(study.images) for study in studies) - sum(len(study.images) for study in new)
            result = self._write_record(query, journal, pulled, before)
        if refused:
            raise StateError(self.archive.url, "must store every object", refused[0], "the same command tries again")
        return result

    def _unreported(self, study: Study) -> Study:
        """The images of a study whose report is not in the archive."""
        series = self.device.reports_series(study.uid)
        there = present(self.archive, study.uid, [series]) if series in study.series else frozenset()
        left = tuple(image for image in study.images if self.device.report(image.uid) not in there)
        return Study(study.uid, study.series, left)

    def _work_off(self, pulled: Pulled, journal: Journal) -> list[str]:
        """Answer and store batch by batch; return what the archive says of objects that it does not take."""
        refused: list[str] = []
        wanted = [image for image in pulled.images if journal.entries.get(image.uid, {}).get("state") != LEFT_OUT]
        for batch in _batches(wanted):
            self._answer([image for image in batch if not (self._folder(image) / REPORT).exists()], journal)
            if self.store:
                for image in batch:
                    refused += self._store(image, journal)
        return refused

    def _answer(self, images: Sequence[Instance], journal: Journal) -> None:
        """Write reports and maps of some images."""
        if not images:
            return
        files = {f"{image.uid}.dcm": image for image in images}
        work = self.out / _WORK
        try:
            answers = answer_files([self._file(image) for image in images], self.device, work)
            for name, image in files.items():
                if name in answers.by_name:
                    self._write_objects(image, answers, journal)
                else:
                    reason = answers.left_out.get(name, "not answered")
                    journal.add(image.uid, state=LEFT_OUT, study=image.study, reason=reason)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _write_objects(self, image: Instance, answers: Answers, journal: Journal) -> None:
        """Write an image's maps, and its report when they are complete."""
        from pydicom import dcmread

        name, folder = self._file(image).name, self._folder(image)
        given = answers.by_name[name]
        try:
            source = describe_source(dcmread(self._file(image), stop_before_pixels=True))
            drawn = self._draw(image, source, answers) if self.maps else {}
            report = build_report(source, given, self.device, drawn)
        except CxrAugError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            reason = f"its header cannot be carried over ({type(error).__name__})"
            journal.add(image.uid, state=LEFT_OUT, study=image.study, reason=reason)
            return
        folder.mkdir(exist_ok=True)
        for number, capture in enumerate(drawn.values(), start=1):
            write_dicom(folder / f"map_{number}.dcm", capture)
        write_dicom(folder / REPORT, report)
        journal.add(image.uid, state=WRITTEN, **self._facts(image, given))

    def _draw(self, image: Instance, source: Dataset, answers: Answers) -> dict[str, Any]:
        """Finding to the map of it."""
        name = self._file(image).name
        given, dataset = answers.by_name[name], answers.dataset
        if dataset is None:
            return {}
        chosen = choose_findings(given, self.maps)
        radiograph = read_radiograph(self._file(image), image.uid, DicomPolicy.keep_all())
        heats = self._finder.heats(dataset, answers.rows[name], chosen)
        pictures = [
            draw_map(radiograph, heat, describe_answer(given[place])) for place, heat in zip(chosen, heats, strict=True)
        ]
        return {
            given[place].finding: build_map(source, given[place], self.device, picture)
            for place, picture in zip(chosen, pictures, strict=True)
        }

    def _store(self, image: Instance, journal: Journal) -> list[str]:
        """Store an image's maps and then its report; return what the archive says against it."""
        from pydicom import dcmread

        folder = self._folder(image)
        if not (folder / REPORT).exists():
            return []
        try:
            for path in [*sorted(folder.glob("map_*.dcm")), folder / REPORT]:
                self.archive.store(dcmread(path))
        except RefusedError as error:
            return [error.found]
        journal.add(image.uid, **{**journal.entries.get(image.uid, {}), "state": STORED})
        return []

    def _facts(self, image: Instance, answers: Sequence[Answer]) -> dict[str, Any]:
        probs = {answer.finding: round(answer.prob, 6) for answer in answers}
        return {"study": image.study, "report": self.device.report(image.uid), "probs": probs}

    def _write_record(self, query: Query, journal: Journal, pulled: Pulled, before: int) -> Classified:
        findings = self.device.findings
        rows = [
            (uid, *(one.get(name, "") for name in _FACTS), *(one.get("probs", {}).get(name, "") for name in findings))
            for uid, one in sorted(journal.entries.items())
        ]
        columns = ("sop_instance_uid", *_FACTS, *(f"prob:{name}" for name in findings))
        write_csv(self.objects / TABLE, columns, rows)
        ours = [journal.entries.get(image.uid, {}) for image in pulled.images]
        states = Counter(one.get("state", "") for one in ours if one.get("state") != LEFT_OUT)
        reasons = Counter([*pulled.left_out.values(), *(one["reason"] for one in ours if one.get("state") == LEFT_OUT)])
        hashes = {"model": self.device.sha256, "calibration": self.device.calibration_sha256}
        inputs = {**hashes, TABLE: file_hash(self.objects / TABLE)}
        about = {"url": self.archive.url, "query": query.describe(), "before": before, "states": dict(states)}
        write_json(self.objects / ABOUT, SCHEMA, {**about, "left_out": dict(reasons), "inputs": inputs})
        return Classified(self.objects, before, dict(states), dict(reasons))

    def _file(self, image: Instance) -> Path:
        return self.out / _IMAGES / f"{image.uid}.dcm"

    def _folder(self, image: Instance) -> Path:
        return self.objects / image.uid


def _batches(images: Sequence[Instance]) -> Iterator[Sequence[Instance]]:
    for first in range(0, len(images), _BATCH):
        yield images[first : first + _BATCH]
