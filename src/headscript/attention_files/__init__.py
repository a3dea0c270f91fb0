"""Attention patterns that were recorded elsewhere: read, checked, and made into a run.

`import_recording` does it all, `save_attention` writes such a file. docs/importing.md has the form
of the files.
"""

from headscript.attention_files.importing import import_recording
from headscript.attention_files.saving import save_attention

__all__ = ["import_recording", "save_attention"]
