"""Where the project and its configurations are; apart from the trainers, which take seconds to import."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS = PROJECT / "configs"
