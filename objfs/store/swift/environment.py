"""Who logs in, and where: the variables of the `swift` command and of clouds.yaml, read once.

`ST_AUTH`, `ST_USER`, `ST_KEY`, `ST_AUTH_VERSION` and all of `OS_*` mean what they mean to
python-swiftclient's command (its manual, "Authentication"); `OS_CLOUD` names a cloud of
clouds.yaml and wins over them, as it does for the `openstack` command. Which version of the login
is meant follows the same rules, in the same order: `OS_AUTH_TYPE`, the version asked for, v1 where
`ST_*` are complete, v3 where a domain is named, else v2. No SDK is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from objfs.config import StoreConfig
from objfs.errors import BadCredentials, UsageError

VERSIONS: Final = {
    "v1password": "v1",
    "v2password": "v2",
    "v3password": "v3",
    "v3applicationcredential": "v3app",
    "v3token": "v3token",
    "token": "v3token",
    "1": "v1",
    "1.0": "v1",
    "2": "v2",
    "2.0": "v2",
    "3": "v3",
    "3.0": "v3",
}
_DOMAINS: Final = (
    "OS_USER_DOMAIN_ID",
    "OS_USER_DOMAIN_NAME",
    "OS_PROJECT_DOMAIN_ID",
    "OS_PROJECT_DOMAIN_NAME",
)
_PLACE: Final = (
    *("OS_CLOUD", "OS_STORAGE_URL", "ST_AUTH", "ST_USER", "OS_AUTH_URL", "OS_REGION_NAME"),
    *("OS_USERNAME", "OS_USER_ID", "OS_APPLICATION_CREDENTIAL_ID"),
    *("OS_PROJECT_ID", "OS_PROJECT_NAME", "OS_TENANT_ID", "OS_TENANT_NAME"),
)
MISSING: Final = (
    "Set ST_AUTH, ST_USER and ST_KEY, or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and"
    " OS_PROJECT_NAME, or OS_STORAGE_URL and OS_AUTH_TOKEN, or OS_CLOUD, as for the swift command."
)


@dataclass(frozen=True, slots=True)
class Login:
    """How to get a token and the account's URL."""

    kind: str
    """"cloud", "given" (URL and token), "anonymous", "v1", "v2", "v3", "v3app" or "v3token"."""
    auth_url: str = ""
    storage_url: str = ""
    """The account's URL, where it is not to come from the login."""
    cloud: str = ""
    token: str = field(default="", repr=False)
    user: str = ""
    user_id: str = ""
    password: str = field(default="", repr=False)
    """Or the application credential's secret."""
    application_credential: str = ""
    scope: Mapping[str, str] = field(default_factory=dict)
    """Project and domains, under keystoneauth's names."""
    region: str = ""
    service_type: str = "object-store"
    interface: str = "public"
    ca_file: str = ""
    certificate: tuple[str, str] | None = None
    """Of the client: certificate file and key file."""
    verify: bool = True


def place(environ: Mapping[str, str]) -> str:
    """Which account a mount would be of, without a secret: for telling two accounts apart."""
    return " ".join(f"{name}={environ[name]}" for name in _PLACE if environ.get(name))


def read_login(config: StoreConfig, environ: Mapping[str, str]) -> Login:
    """The login that configuration and environment describe.

    Raises `BadCredentials` where something is missing, `UsageError` for an unknown kind.
    """
    cloud = config.profile or environ.get("OS_CLOUD", "")
    storage_url = config.endpoint_url or environ.get("OS_STORAGE_URL", "")
    certificate = environ.get("OS_CERT", ""), environ.get("OS_KEY", "")
    insecure = environ.get("SWIFTCLIENT_INSECURE", "").lower()
    shared = {
        "storage_url": storage_url,
        "region": config.region or environ.get("OS_REGION_NAME", ""),
        "ca_file": config.ca_bundle or environ.get("OS_CACERT", ""),
        "service_type": environ.get("OS_SERVICE_TYPE") or "object-store",
        "interface": environ.get("OS_ENDPOINT_TYPE") or environ.get("OS_INTERFACE") or "public",
    }
    more = {
        "certificate": certificate if all(certificate) else None,
        "verify": insecure not in {"true", "1", "yes", "on", "t", "y"},
    }
    if not config.sign_requests:
        if not storage_url:
            raise UsageError(
                "a public container without a login needs the account's URL",
                remedy="Set OS_STORAGE_URL or --endpoint-url to it.",
            )
        chosen: Mapping[str, object] = {"kind": "anonymous"}
    elif cloud:
        chosen = {"kind": "cloud", "cloud": cloud}
    elif storage_url and environ.get("OS_AUTH_TOKEN"):
        chosen = {"kind": "given", "token": environ["OS_AUTH_TOKEN"]}
    else:
        chosen = _with_secret(environ)
    return Login(**{**shared, **more, **chosen})  # type: ignore[arg-type]  # keyed by its fields


def _with_secret(environ: Mapping[str, str]) -> Mapping[str, object]:
    kind = _kind(environ)
    old = kind == "v1"
    chosen = {
        "kind": kind,
        "auth_url": _first(environ, "ST_AUTH", "OS_AUTH_URL"),
        "user": _first(environ, "ST_USER", "OS_USERNAME"),
        "password": _first(environ, "ST_KEY", "OS_PASSWORD"),
        "user_id": "" if old else environ.get("OS_USER_ID", ""),
        "scope": {} if old else _scope(environ),
    }
    wanted = {
        "auth_url": "ST_AUTH" if old else "OS_AUTH_URL",
        "password": "ST_KEY" if old else "OS_PASSWORD",
        "user": "ST_USER" if old else "OS_USERNAME",
    }
    if chosen["user_id"]:
        del wanted["user"]
    if kind == "v3app":
        chosen["application_credential"] = environ.get("OS_APPLICATION_CREDENTIAL_ID", "")
        chosen["password"] = environ.get("OS_APPLICATION_CREDENTIAL_SECRET", "")
        chosen["scope"] = {}  # the credential is of one project already
        wanted = {
            "auth_url": "OS_AUTH_URL",
            "application_credential": "OS_APPLICATION_CREDENTIAL_ID",
            "password": "OS_APPLICATION_CREDENTIAL_SECRET",
        }
    if kind == "v3token":
        chosen["token"] = _first(environ, "OS_TOKEN", "OS_AUTH_TOKEN")
        wanted = {"auth_url": "OS_AUTH_URL", "token": "OS_TOKEN"}
    missing = [name for key, name in wanted.items() if not chosen[key]]
    if len(missing) == len(wanted):
        raise BadCredentials("no credentials for Swift found", remedy=MISSING)
    if missing:
        raise BadCredentials(
            f"the Swift login is not complete: {', '.join(missing)} not set", remedy=MISSING
        )
    return chosen


def _kind(environ: Mapping[str, str]) -> str:
    asked = environ.get("OS_AUTH_TYPE", "")
    if asked not in {"", "password"}:
        if asked not in VERSIONS:
            raise UsageError(
                f"OS_AUTH_TYPE={asked} is not a login that objfs knows",
                remedy="Known are v1password, v2password, v3password, v3token and"
                " v3applicationcredential.",
            )
        return VERSIONS[asked]
    version = _first(environ, "ST_AUTH_VERSION", "OS_AUTH_VERSION", "OS_IDENTITY_API_VERSION")
    if version and version not in VERSIONS:
        raise UsageError(f"the login's version {version} is not one of 1, 2 and 3")
    if VERSIONS.get(version) in {"v2", "v3"}:
        return VERSIONS[version]
    complete = all(
        _first(environ, *names)
        for names in (
            ("ST_AUTH", "OS_AUTH_URL"),
            ("ST_USER", "OS_USERNAME"),
            ("ST_KEY", "OS_PASSWORD"),
        )
    )
    if any(environ.get(name) for name in ("ST_AUTH", "ST_USER", "ST_KEY")) and (
        complete or not environ.get("OS_AUTH_URL")
    ):
        return "v1"
    return "v3" if any(environ.get(name) for name in _DOMAINS) else "v2"


def _scope(environ: Mapping[str, str]) -> dict[str, str]:
    scope = {
        "project_id": _first(environ, "OS_PROJECT_ID", "OS_TENANT_ID"),
        "project_name": _first(environ, "OS_PROJECT_NAME", "OS_TENANT_NAME"),
        **{name.removeprefix("OS_").lower(): environ.get(name, "") for name in _DOMAINS},
    }
    return {name: value for name, value in scope.items() if value}


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
