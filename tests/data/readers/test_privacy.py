"""No name, birth date or identifier leaves the reader but the key that the user chose."""

from __future__ import annotations

import io
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from monai_cxraug.data.monai_reader import RadiographReader
from monai_cxraug.data.readers import DicomPolicy, read_radiograph
from monai_cxraug.data.readers.header import read_header
from monai_cxraug.data.readers.parsing import silenced
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import KEEP, compress, encode, make_dicom, ramp, read

_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "AS", "DA", "DT", "TM", "UR")
#: what the reader itself needs to be as it is.
_NEEDED = ("PhotometricInterpretation", "SpecificCharacterSet")


def planted(kinds: tuple[str, ...] = _TEXT) -> FileDataset:
    """An image with a mark in every text attribute of the standard, in items of sequences and in private tags."""
    dataset = make_dicom(ramp(0, 4095), WindowCenter=2048, WindowWidth=4096)
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in kinds and keyword and keyword not in _NEEDED and tag >> 16 not in (0, 2, 4) and tag < 0x7FE00000:
            dataset.add_new(tag, "LT" if kind in ("AS", "DA", "DT", "TM") else kind, f"QQ{tag:08X}")
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.PatientName = "QQCODE", "QQMEANING", "QQ^NAME"
    for keyword in ("ViewCodeSequence", "AnatomicRegionSequence", "ReferencedStudySequence", "OtherPatientIDsSequence"):
        setattr(dataset, keyword, Sequence([item]))
    block = dataset.private_block(0x0011, "QQ PRIVATE", create=True)
    block.add_new(1, "LO", "QQPRIVATE")
    return dataset


def outcomes(content: bytes) -> str:
    """All that can be seen of the reader, as one text."""
    seen: list[Any] = []
    for policy in (DicomPolicy(), KEEP, DicomPolicy(*["drop"] * 6)):
        try:
            result = read_radiograph(content, "x.dcm", policy)
            seen += [repr(result), vars(result), RadiographReader().get_data([result])]
        except InputError as error:
            seen += [repr(error), str(error), vars(error), error.__cause__]
    with suppress(InputError):
        seen.append(read_header(content, "x.dcm", patient_key="PatientSex"))
    return " ".join(map(str, seen))


def test_nothing_planted_is_seen(caplog, recwarn, capfd) -> None:
    content = encode(planted())
    assert content.count(b"QQ") > 1000
    caplog.set_level(logging.DEBUG)
    recwarn.clear()
    text = outcomes(content)
    for chosen in ("QQ00100040", "QQ00080050"):  # the patient's key, and the accession number that labels may go by
        assert text.count(chosen) == 1
        text = text.replace(chosen, "")
    assert "QQ" not in text
    assert not recwarn.list
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


NUMBERS = ("Rows", "BitsStored", "WindowCenter", "RescaleSlope", "PixelSpacing", "NumberOfFrames", "PixelPaddingValue")


@pytest.mark.parametrize("keyword", NUMBERS)
def test_nor_what_stands_where_a_number_should(keyword: str, caplog, recwarn, capfd) -> None:
    dataset = make_dicom(ramp(0, 4095), WindowCenter=2048, WindowWidth=4096)
    if keyword in dataset:
        del dataset[keyword]
    dataset.add_new(keyword, "LT", "QQANNA")
    content = encode(dataset)
    recwarn.clear()
    caplog.clear()
    assert "QQ" not in outcomes(content)
    assert not recwarn.list
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


#: an attribute, what it holds, and what is written over it: pydicom warns of these, or raises, and quotes them.
SPOILT = {
    "ViewPosition": ("PAPA", b"q^!Q"),
    "WindowCenter": ("2048", b"QQNA"),
    "NumberOfFrames": ("0001", b"QQNA"),
    "PatientAge": ("071Y", b"QQNA"),
    "PhotometricInterpretation": ("MONOCHROME2", b"QQNOBODYANN"),
    "SOPInstanceUID": ("1.2.3.4", b"QQ^NOBO"),
}


@pytest.mark.parametrize("keyword", SPOILT)
def test_nor_what_pydicom_complains_of(keyword: str, caplog, recwarn, capfd) -> None:
    before, after = SPOILT[keyword]
    dataset = make_dicom(ramp(0, 4095), WindowWidth=4096, **{"WindowCenter": 100, keyword: before})
    content = encode(dataset).replace(before.encode(), after)
    assert after in content
    recwarn.clear()
    caplog.set_level(logging.DEBUG)
    text = outcomes(content)
    assert "QQ" not in text
    assert after.decode() not in text
    assert not recwarn.list
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_nor_an_item_where_a_text_should_be() -> None:
    dataset = make_dicom(ramp(0, 4095))
    item = Dataset()
    item.PatientName = "QQ^NAME"
    for keyword in ("PatientSex", "ViewPosition", "AccessionNumber"):
        dataset.add_new(keyword, "SQ", Sequence([item]))
    assert "QQ" not in outcomes(encode(dataset))


def test_the_key_that_was_chosen_does() -> None:
    dataset = make_dicom(ramp(0, 9), AccessionNumber="A-70-Z", StudyInstanceUID="1.2.3", PatientSex="F")
    dataset.PatientAge, dataset.ViewPosition = "071Y", "PA"
    header = read_header(encode(dataset), patient_key="PatientID")
    assert header.patient_key == "4711"
    assert "Nobody" not in repr(header)
    assert "19010203" not in repr(header)
    result = read(dataset)
    assert result.tags == {"view": "PA", "sex": "F", "age": "71"}
    assert not any(word in repr(vars(result)) for word in ("Nobody", "Anna", "4711", "19010203", "A-70-Z"))


def test_warnings_that_quote_the_file_are_kept_back(recwarn, caplog) -> None:
    content = encode(make_dicom(ramp(0, 9))).replace(b"1.2.840.10008.5.1.4.1.1.1", b"1.2.ANNA.NOBODY.1.1.1.1.1")
    with pytest.warns(UserWarning, match="NOBODY"):
        dcmread(io.BytesIO(content))
    caplog.clear()
    recwarn.clear()
    assert read_radiograph(content).pixels.max() == 1
    assert not recwarn.list
    assert not caplog.records


def test_a_decoders_log_is_kept_back(caplog, refuses) -> None:
    content = encode(compress(make_dicom(ramp(0, 9), syntax=JPEG2000Lossless), b"rubbish!"))
    with pytest.raises((RuntimeError, ValueError, OSError)):
        _ = dcmread(io.BytesIO(content)).pixel_array
    assert caplog.records
    caplog.clear()
    with refuses(InputError, "x.dcm", "JPEG 2000"):
        read_radiograph(content, "x.dcm")
    assert not caplog.records


def test_one_thread_at_a_time_silences_a_library() -> None:
    """Otherwise the first to leave would restore what the second has silenced, and the second would keep it so."""
    entered = threading.Event()

    def enter() -> None:
        with silenced():
            entered.set()

    other = threading.Thread(target=enter)
    with silenced():
        other.start()
        assert not entered.wait(0.2)
    other.join(5)
    assert entered.is_set()


def test_threads_leave_the_log_as_it_was() -> None:
    logger = logging.getLogger("pydicom")
    before = logger.propagate, list(logger.handlers)
    content = encode(make_dicom(ramp(0, 4095)))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: read_radiograph(content).pixels, range(64)))
    assert all((result == results[0]).all() for result in results)
    assert (logger.propagate, list(logger.handlers)) == before
    assert np.isfinite(results[0]).all()
