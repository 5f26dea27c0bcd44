"""The report: what the lake says, in words, figures and tables, as one HTML file that opens without a network.

    data = gather(lake.query, ladder_id=..., title=..., made_at=..., lake_snapshot=...)
    html, paragraph, tables = render(data), headline(data), markdown_tables(data)

A library of its own: Arrow tables in, text out. Altair and vl-convert are needed here and nowhere else.
"""

from lm.report.charts import curve_png
from lm.report.data import ReportData, gather
from lm.report.page import headline, markdown_tables, render
from lm.report.queries import QUERIES

__all__ = ["QUERIES", "ReportData", "curve_png", "gather", "headline", "markdown_tables", "render"]
