"""Where this checkout lies: tests in folders of any depth ask here, and do not count folders."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
