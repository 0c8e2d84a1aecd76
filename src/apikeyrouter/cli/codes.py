"""What the exit codes mean; documented in docs/reference/cli.md."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The command ran, and the answer is no: a request was not served, a check found something, nobody could serve."""
USAGE: Final = 2
"""An unknown command or option."""
CONFIGURATION: Final = 3
"""The configuration is missing or wrong."""
MISSING: Final = 4
"""An optional library is not installed; the sentence has the command that mends it."""
FAULT: Final = 70
"""A fault of the program itself."""
INTERRUPTED: Final = 130
