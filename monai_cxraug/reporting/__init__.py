"""Reports of a run, made from its files alone: terminal table, CSV tables, figures and one HTML page."""

from __future__ import annotations

from monai_cxraug.reporting.records import Plan, Results, load_plan, load_results
from monai_cxraug.reporting.report import write_report
from monai_cxraug.reporting.tables import summary_table

__all__ = ["Plan", "Results", "load_plan", "load_results", "summary_table", "write_report"]
