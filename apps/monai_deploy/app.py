"""A MONAI Deploy application: one DICOM radiograph in, the classification bundle's answer in ``findings.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType
from monai.deploy.operators import (
    DICOMDataLoaderOperator,
    DICOMSeriesSelectorOperator,
    IOMapping,
    MonaiBundleInferenceOperator,
)
from radiograph_operator import RadiographOperator
from result_operator import FindingsOperator

#: Series that are looked at; laterals go by the words of the archive, so a site adds its own conditions.
RULES: Final = json.dumps(
    {"selections": [{"name": "Radiograph", "conditions": {"Modality": "(?i)^(DX|CR)$"}}]},
)
_SERIES: Final = "study_selected_series_list"


class ChestFindingsApp(Application):
    """Loads a folder of DICOM files, takes its first radiograph, and writes what the bundle finds."""

    def compose(self) -> None:
        """Connect loader, selector, radiograph, bundle and result."""
        context: AppContext = Application.init_app_context(self.argv)
        bundle = Path(context.model_path)
        if bundle.is_dir():
            # the SDK would take a folder for a loaded model and then fail to call it; without one, its operator loads
            context.models = None
        loader = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="loader"
        )
        selector = DICOMSeriesSelectorOperator(self, rules=RULES, name="selector")
        radiograph = RadiographOperator(self, name="radiograph")
        inference = self._inference(context, bundle)
        result = FindingsOperator(self, bundle=bundle, output_folder=Path(context.output_path), name="result")
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, radiograph, {(_SERIES, _SERIES)})
        self.add_flow(radiograph, inference, {("image", "image")})
        self.add_flow(inference, result, {("pred", "pred")})
        self.add_flow(selector, result, {(_SERIES, _SERIES)})

    def _inference(self, context: AppContext, bundle: Path) -> MonaiBundleInferenceOperator:
        return MonaiBundleInferenceOperator(
            self,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", dict[str, Any], IOType.IN_MEMORY)],
            app_context=context,
            bundle_path=bundle,
            name="inference",
        )
