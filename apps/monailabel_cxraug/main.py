"""A MONAI Label app: findings on chest radiographs, with class activation maps. ``serve.py`` starts it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from lib.classifier import BUNDLE, ChestClassifier
from lib.datastores import RadiographSeries, open_folder
from lib.task import NOTICE, FindingsTask
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask

from monai_cxraug import __version__
from monai_cxraug.errors import CxrAugError, InputError

#: HTTP's status for what is not there, and for a request that is understood and cannot be answered.
_NOT_FOUND, _UNPROCESSABLE = 404, 422


class ChestRadiographs(MONAILabelApp):  # type: ignore[misc]
    """Serves the classification bundle.

    Args:
        app_dir: this folder.
        studies: folder of radiographs, or address of a DICOMweb server.
        conf: ``model``, a model file or a folder that holds one; ``device``, by default the bundle's choice.

    Raises:
        CxrAugError: the model cannot be loaded.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.classifier = ChestClassifier(conf.get("model", ""), conf.get("device"))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="Chest radiograph findings",
            description=NOTICE,
            version=__version__,
            labels=list(self.classifier.findings),
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Return the one task."""
        return {BUNDLE: FindingsTask(self.classifier)}

    def init_datastore(self) -> Datastore:
        """Return the store of a folder, or of whatever server MONAI Label's settings name; DICOMweb by default."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return open_folder(self.studies)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer a request; what the client can mend comes back as one line.

        Raises:
            HTTPException: 422 with that line; 404 where MONAI Label knows no such model.
        """
        try:
            self._refuse_paths(request.get("image"))
            answer: dict[str, Any] = super().infer(request, datastore)
        except CxrAugError as error:
            raise HTTPException(_UNPROCESSABLE, str(error)) from None
        except MONAILabelException as error:
            raise HTTPException(_NOT_FOUND, error.msg) from None
        return answer

    def _init_dicomweb_datastore(self) -> Datastore:
        """Have MONAI Label make the client, with its settings for addresses and passwords; the store is ours."""
        return RadiographSeries(super()._init_dicomweb_datastore()._client, settings.MONAI_LABEL_DICOMWEB_CACHE_PATH)

    def _download_dcmqi_tools(self) -> None:
        """Fetch no program from the Internet: it would write segmentations, and there are none."""

    def _refuse_paths(self, image: object) -> None:
        """Refuse files of the server that MONAI Label takes for images because a path of that name exists."""
        if not isinstance(image, str) or not image or not Path(image).exists():
            return
        uploads = Path(tempfile.gettempdir()).resolve()
        if Path(image).resolve().parent != uploads:
            raise InputError("image", "must be an id of the datastore", "a path", "/datastore/?output=all lists ids")
