"""Options of the data folder, and the paths in it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

_HOME = Path("~/.sightline")


class DataSettings(BaseModel):
    """Data folder."""

    data_dir: Path = Field(
        default=_HOME,
        description="Folder for what is kept between starts: tasks and their pictures, pulled "
        "models, compiled networks. `:memory:` keeps no tasks; models stay in ~/.sightline.",
    )

    @property
    def cache_dir(self) -> Path:
        return self._folder / "engines"

    @property
    def state_file(self) -> Path | None:
        """What is loaded is remembered here; None for a place that remembers nothing."""
        return None if self._in_memory else self._folder / "models.json"

    @property
    def pulled_dir(self) -> Path:
        """Where models from the network are kept."""
        return self._folder / "models"

    @property
    def tasks_dir(self) -> Path | None:
        """Where tasks and their pictures are kept; None for memory."""
        return None if self._in_memory else self._folder / "tasks"

    @property
    def secret_file(self) -> Path | None:
        """Where the secret of webhooks is kept; None for memory."""
        return None if self._in_memory else self._folder / "webhook-secret"

    @property
    def _in_memory(self) -> bool:
        return str(self.data_dir) == ":memory:"

    @property
    def _folder(self) -> Path:
        """Where files go; what can be had again is kept also by a place in memory."""
        return (_HOME if self._in_memory else self.data_dir).expanduser()
