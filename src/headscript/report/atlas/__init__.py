"""The atlas: all that a run knows of its heads, as one HTML file that needs no network."""

from headscript.report.atlas.gathering import Atlas, gather
from headscript.report.atlas.writing import Written, require_report, write_atlas

__all__ = ["Atlas", "Written", "gather", "require_report", "write_atlas"]
