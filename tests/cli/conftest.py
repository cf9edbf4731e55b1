"""Every test of the command line has folders of its own and no variables of ours."""

import os

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """The user's configuration, cache and runtime folders, under one temporary folder."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("CONFIG_HOME", "CACHE_HOME", "RUNTIME_DIR"):
        (folder / name).mkdir(mode=0o700)
        monkeypatch.setenv(f"XDG_{name}", str(folder / name))
    for name in [name for name in os.environ if name.startswith("OBJFS_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def mountpoint(tmp_path):
    """An empty folder."""
    path = tmp_path / "mnt"
    path.mkdir()
    return path
