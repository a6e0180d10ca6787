"""Start the application: ``python apps/monai_deploy -i DICOM_FOLDER -o OUTPUT_FOLDER -m BUNDLE``."""

from __future__ import annotations

from app import ChestFindingsApp  # of this folder, which Python has put first

if __name__ == "__main__":
    ChestFindingsApp().run()
