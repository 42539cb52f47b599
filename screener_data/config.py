"""Settings, all from the environment (or a `.env` file in the workspace), secrets as SecretStr."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from screener_data.errors import ConfigError

__all__ = ["Settings", "settings", "workspace"]


def workspace() -> Path:
    """The folder one works in: the nearest at or above the current one that holds `.screener` or `alembic.ini`.

    A notebook's kernel starts in `notebooks/`; it must find the same database as the shell beside it.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".screener").is_dir() or (folder / "alembic.ini").is_file():
            return folder
    return here


class Settings(BaseSettings):
    """What can be set. Each name is an environment variable with the prefix `SCREENER_`."""

    model_config = SettingsConfigDict(env_prefix="SCREENER_", env_ignore_empty=True, extra="ignore")

    database_url: SecretStr | None = Field(
        default=None, description="A PostgreSQL ≥ 15 to use. Not set: an embedded one under `home`."
    )
    reader_url: SecretStr | None = Field(
        default=None, description="The same database as a user who may only read: what exploring uses."
    )
    home: Path = Field(
        default_factory=lambda: workspace() / ".screener",
        description="Where the embedded database, downloads and the cache live.",
    )
    runs: Path = Field(
        default_factory=lambda: workspace() / "runs", description="Where executed notebooks and reports land."
    )
    cache: bool = Field(default=True, description="Whether wide reads are kept as files under `home`; see cache.py.")

    webhook_url: SecretStr | None = Field(
        default=None, description="Where a failed evening run is told, as JSON by POST; the address is a secret."
    )
    upstox_token: SecretStr | None = Field(default=None, description="What Upstox asks for before it gives quotes.")
    fetch_rate: float = Field(default=3, gt=0, description="At most so many requests a second.")
    fetch_tries: int = Field(default=5, ge=1, description="How often an address is asked before it counts as failed.")
    fetch_backoff: float = Field(
        default=1, ge=0, description="Seconds before the second try; each further pause is twice as long, give or take."
    )
    fetch_timeout: float = Field(default=30, gt=0, description="Seconds of silence after which a request is given up.")
    fetch_nse_url: str = Field(default="https://www.nseindia.com", description="Where the exchange's website is.")
    fetch_archives_url: str = Field(default="https://nsearchives.nseindia.com", description="Where its files are.")
    fetch_upstox_url: str = Field(default="https://api.upstox.com", description="Where Upstox answers.")
    fetch_upstox_files_url: str = Field(default="https://assets.upstox.com", description="Where Upstox's lists are.")

    @field_validator("webhook_url")
    @classmethod
    def _of_the_web(cls, address: SecretStr | None) -> SecretStr | None:
        if address and not address.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://")
        return address

    @field_validator("home", "runs")
    @classmethod
    def _whole(cls, folder: Path) -> Path:
        try:
            return workspace() / folder.expanduser()
        except RuntimeError as error:  # ~nobody
            raise ValueError(str(error)) from error


def settings() -> Settings:
    """Read the settings afresh. Raises ConfigError, naming the variable, when one of them is wrong.

    A relative folder is one of the workspace, so that it means the same in the shell and in a notebook's kernel.
    """
    file = workspace() / ".env"
    try:
        return Settings(_env_file=file)
    except ValidationError as error:
        names = ", ".join("SCREENER_" + ".".join(map(str, part["loc"])).upper() for part in error.errors())
        raise ConfigError(f"wrong setting: {names}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
