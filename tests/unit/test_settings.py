from __future__ import annotations

from pathlib import Path

import pytest

from sightline import ConfigError
from sightline.settings import GROUPS, Settings, load_settings


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.engine) == ("127.0.0.1", 8000, "auto")
    assert settings.max_upload_bytes == 10 * 2**20


def test_every_option_is_in_one_group() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert sorted(names) == sorted(Settings.model_fields)


def test_flags_win_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sightline.toml").write_text('port = 1\nconfidence = 0.1\ndevice = "cpu"\n')
    monkeypatch.setenv("SIGHTLINE_PORT", "2")
    monkeypatch.setenv("SIGHTLINE_CONFIDENCE", "0.2")
    settings = load_settings(port=3, model=None)
    assert (settings.port, settings.confidence, settings.device) == (3, 0.2, "cpu")


def test_port_is_honoured_as_platforms_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert load_settings().port == 8080


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SIGHTLINE_CONFIDENCE", "7", "option 'confidence'.*not '7'"),
        ("SIGHTLINE_CONFIDENCE", "nan", "option 'confidence'"),
        ("SIGHTLINE_PORT", "eighty", "option 'port'"),
        ("PORT", "99999", "option 'port'"),
        ("SIGHTLINE_ENGINE", "torch", "option 'engine'"),
    ],
)
def test_a_bad_value_is_one_clear_line(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_misspelt_key_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sightline.toml").write_text("prot = 1\n")
    with pytest.raises(ConfigError, match="unknown option 'prot'"):
        load_settings()


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sightline.toml").write_text("port = \n")
    with pytest.raises(ConfigError, match=r"sightline\.toml cannot be read"):
        load_settings()


def test_a_place_in_memory_makes_no_folder_of_that_name() -> None:
    settings = load_settings(data_dir=":memory:")
    assert (settings.tasks_dir, settings.state_file, settings.secret_file) == (None, None, None)
    home = Path("~/.sightline").expanduser()
    assert (settings.cache_dir, settings.pulled_dir) == (home / "engines", home / "models")
