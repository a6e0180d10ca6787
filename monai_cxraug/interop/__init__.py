"""DICOM in and out: studies from an archive, reports and maps back to it, synthetic sets as DICOM."""
