"""A reader study from nothing: python -m scripts.study_demo [--out DIR]; with options, on other images and networks.

Images are generated, a classifier, networks that distort and a generator are trained for a minute, a study is built
and served, and simulated readers answer it: one in a real browser, by the keyboard, the others over HTTP. Then the
report is written. Run again, it goes on where it was stopped. The readers see the images through MS-SSIM and noise:
what comes out shows that everything runs, and nothing about people.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.cli import main as cxraug
from monai_cxraug.console import announce
from monai_cxraug.errors import CxrAugError, InputError
from monai_cxraug.study.build import BuildStudy
from monai_cxraug.study.distances import Distance, Pictures, pixel_distances
from monai_cxraug.study.files import Study, Trial
from monai_cxraug.study.networks import DrawNetworks
from monai_cxraug.study.observers import Observer
from monai_cxraug.study.report_command import ReportStudy
from monai_cxraug.study.serving import TOKEN_VARIABLE, ExportAnswers
from monai_cxraug.study.simulated import Opinion, PageClient, SimulatedReaders
from scripts.browser_reader import answer_in_browser, chromium

#: what the simulated readers see, and how noisily.
SEEN: Final = "MS-SSIM"
_NOISE: Final = (0.2, 0.3, 0.4, 0.6)
#: images that the generator makes.
_SYNTHETIC: Final = 60
#: a small generator for a minute; its images are easily told from real ones.
_GENERATOR: Final = {
    "resolution": 64,
    "latent_size": 32,
    "fmap_max": 32,
    "fade_images": 480,
    "stable_images": 480,
    "total_images": 4800,
    "batch_size": 8,
    "epoch_length": 60,
    "grid_images": 2400,
}


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/study-demo"), help="folder to fill (%(default)s)")
    add("--data", type=Path, help="prepared images with a val split (generated phantoms)")
    add("--finding", default="Effusion", help="what the generator makes (%(default)s)")
    add("--model", help="NAME=PLACE of a classifier (a small CNN is trained)")
    add("--networks", type=Path, help="made by cxraug study networks (six are trained)")
    add("--choices", type=int, default=30, help="forced choices (%(default)s)")
    add("--pairs", type=int, default=20, help="pairs (%(default)s)")
    add("--pictures", type=int, default=16, help="real or synthetic (%(default)s)")
    add("--readers", type=int, default=6, help="simulated readers (%(default)s)")
    add("--seed", type=int, default=0, help="of everything (%(default)s)")
    try:
        print(StudyDemo(**vars(parser.parse_args())).run())
    except CxrAugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


@dataclass(frozen=True)
class StudyDemo:
    """All stages of a study in one folder.

    Args:
        out: folder to fill.
        data: prepared images; None generates phantoms.
        finding: what the generator makes.
        model: ``NAME=PLACE`` of a classifier; None trains a small one.
        networks: that distort; None trains six.
        choices: forced choices that count.
        pairs: pairs that count.
        pictures: real or synthetic ones that count.
        readers: simulated ones; the last answers in a browser.
        seed: of everything.
    """

    out: Path
    data: Path | None
    finding: str
    model: str | None
    networks: Path | None
    choices: int
    pairs: int
    pictures: int
    readers: int
    seed: int

    def run(self) -> Path:
        """Do what is not done yet, and return the page."""
        with chromium():  # say at once if it is missing
            pass
        data = self.data or self._phantoms()
        model = self.model or f"small CNN={self._classifier(data)}"
        networks = self.networks or self._networks(data)
        synthetic = self._synthetic(data) if self.pictures else None
        _stage("study")
        study = BuildStudy(
            data,
            self.out / "study",
            title="Demonstration with simulated readers",
            split="val",
            choices=self.choices,
            pairs=self.pairs,
            pictures=self.pictures,
            networks=networks,
            synthetic=synthetic,
            display_ms=200,
            gap_ms=100,
            seed=self.seed,
        ).run()
        self._answers(Study.load(study))
        _stage("report")
        tables = ExportAnswers(self.out / "answers", self.out / "tables").run()
        return ReportStudy(study, tables, self.out / "report", [model], seed=self.seed).run()

    def _phantoms(self) -> Path:
        data = self.out / "data"
        if not (data / "manifest.csv").exists():
            _stage("phantom radiographs")
            options = f"--count 480 --size 128 --seed {self.seed} --out {data}".split()
            _require(cxraug(["prepare", "phantom", *options, "--quiet"]))
        return data

    def _classifier(self, data: Path) -> Path:
        folder = self.out / "classifier"
        if not (folder / "model.pt").exists():
            _stage("classifier")
            settings = {"architecture": "small_cnn", "steps": 60, "epoch_length": 20, "batch_size": 32, "size": 64}
            self._train(data, "chest_xray_classification", folder, settings)
        return folder

    def _networks(self, data: Path) -> Path:
        _stage("networks that distort")
        return DrawNetworks(data, self.out / "networks", count=6, steps=60, seed=self.seed).run().parent

    def _synthetic(self, data: Path) -> Path:
        generator, made = self.out / "generator", self.out / "synthetic"
        if not (generator / "model.pt").exists():
            _stage("generator")
            self._train(data, "chest_xray_pggan", generator, {"finding": self.finding, **_GENERATOR}, "few_images")
        if not (made / "manifest.csv").exists():
            options = f"--finding {self.finding} --n {_SYNTHETIC} --seed {self.seed} --out {made}".split()
            _require(cxraug(["sample", str(generator), *options, "--quiet"]))
        return made

    def _train(self, data: Path, bundle: str, folder: Path, settings: Mapping[str, Any], *overlays: str) -> None:
        files = [bundle_file(bundle, name) for name in ("train", *overlays)]
        place = {"bundle_root": str(files[0].parents[1]), "output_dir": str(folder), "seed": self.seed}
        run_stage(files, {**place, "dataset_dir": str(data), **settings})

    # --- readers ---

    def _answers(self, study: Study) -> None:
        opinions = self._opinions(study)
        token = secrets.token_urlsafe(18)
        with _served(study.folder, self.out / "answers", token) as url:
            finished = _count_finished(url, token)
            if finished >= self.readers:
                return
            readers = SimulatedReaders(url, token, study)
            _stage("readers over HTTP")
            readers.run([_policy(said) for said in opinions[1 + finished :]], together=4)
            _stage("reader in the browser")
            self._in_browser(url, token, study, opinions[0])

    def _opinions(self, study: Study) -> list[dict[str, Opinion]]:
        """What each reader will say to each trial."""
        trials = [one for one in study.trials if one.task != "turing"]
        found, _ = pixel_distances(Pictures(study), trials)
        seen: Distance = next(one for one in found if one.name == SEEN)
        said = []
        for number in range(self.readers):
            observer = Observer(f"R{number}", seen, noise=_NOISE[number % len(_NOISE)], seed=self.seed + number)
            answers = observer.answer(study, study.trials)
            said.append({one.trial: Opinion(one.answer, one.confidence or 2, one.reaction_ms) for one in answers})
        return said

    def _in_browser(self, url: str, token: str, study: Study, said: Mapping[str, Opinion]) -> None:
        admin = PageClient(url, token=token)
        (code,) = admin.post("/api/admin/codes", {"count": 1, "simulated": True})["codes"]
        trials = {one.trial: one for one in study.trials}

        def order() -> list[Trial]:
            return [trials[name] for name in admin.get_json(f"/api/admin/order/{code}")["trials"]]

        pictures = self.out / "screenshots"
        pictures.mkdir(exist_ok=True)
        with chromium() as browser:
            answer_in_browser(browser, url, code, order, said, pictures)
        admin.close()


@contextmanager
def _served(study: Path, answers: Path, token: str) -> Iterator[str]:
    """Serve the study in a process of its own; yields the address."""
    words = [
        sys.executable,
        "-m",
        "monai_cxraug",
        "study",
        "serve",
        str(study),
        "--answers",
        str(answers),
        "--port",
        "0",
    ]
    process = subprocess.Popen(words, env={**os.environ, TOKEN_VARIABLE: token}, stdout=subprocess.PIPE, text=True)
    try:
        first = process.stdout.readline() if process.stdout else ""
        if not first.startswith("readers:"):
            raise InputError("cxraug study serve", "must start", first.strip() or "nothing said", "see its error above")
        yield first.split()[1].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _count_finished(url: str, token: str) -> int:
    """Readers who have answered everything."""
    admin = PageClient(url, token=token)
    readers = admin.get_json("/api/admin/overview")["readers"]
    admin.close()
    return sum(bool(reader["finished"]) for reader in readers)


def _stage(name: str) -> None:
    announce(f"— {name}")


def _policy(said: Mapping[str, Opinion]) -> Callable[[Trial], Opinion]:
    return lambda trial: said[trial.trial]


def _require(status: int) -> None:
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    sys.exit(main())
