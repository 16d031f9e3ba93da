"""Looking into compiled kernels: passes, code beside its source, resources, bank conflicts.

inspection = inspect_kernel(kernel.compile(target="sm_90a"))
report_text(inspection)         for a terminal
report_html([inspection])       a page of its own
"""

from .gather import Inspection, inspect_kernel
from .report import report_html
from .text import report_text

__all__ = ["Inspection", "inspect_kernel", "report_html", "report_text"]
