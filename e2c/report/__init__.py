"""Reports of one run or several: a page, plots and a film. Reports read files only."""

from e2c.report.page import MAX_EMBEDDED_BYTES, write_report

__all__ = ["MAX_EMBEDDED_BYTES", "write_report"]
