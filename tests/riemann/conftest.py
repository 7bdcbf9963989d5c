"""Lets the tests of this folder import its oracle and its table of layers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
