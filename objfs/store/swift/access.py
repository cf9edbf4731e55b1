"""Access to one account: its URL, and a token that is good.

Both come from keystoneauth1, from clouds.yaml, or as they are given.

A token expires, by its own date or because the store forgot it. keystoneauth fetches a new one
before the date; on a 401 whoever met it calls `renew` with the token that was refused, and of many
threads that meet the same refusal only the first logs in again.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from keystoneauth1 import exceptions as ks
from keystoneauth1 import session as ks_session
from keystoneauth1.identity import v2, v3
from keystoneauth1.plugin import BaseAuthPlugin
from swiftclient.authv1 import PasswordPlugin

from objfs import errors
from objfs.store.swift.environment import Login

READ_TIMEOUT: Final = 20.0
"""Seconds without a byte."""
_SIGN_IN: Final = "Check the user, the key and the project, as the swift command takes them."
_REACH: Final = "Check the login's URL, the network and the proxy."


class Access:
    """Where requests go and what they carry. Methods block, and may be called from any thread."""

    def __init__(self, login: Login, timeout: float) -> None:
        """Raises `UsageError` for a cloud that clouds.yaml does not have."""
        self._login = login
        self._lock = threading.Lock()
        self._url = login.storage_url
        self._where: dict[str, Any] = {
            "service_type": login.service_type,
            "interface": login.interface.removesuffix("URL"),
            "region_name": login.region or None,
        }
        self.ca_file, self.verify, self.certificate = (
            login.ca_file,
            login.verify,
            login.certificate,
        )
        self._session: ks_session.Session | None = None
        if login.kind == "cloud":
            self._session = self._of_cloud(login)
        elif login.kind not in {"given", "anonymous"}:
            verify: bool | str = (login.ca_file or True) if login.verify else False
            self._session = ks_session.Session(
                auth=plugin_for(login), verify=verify, cert=login.certificate
            )
        if self._session is not None:
            self._session.timeout = min(READ_TIMEOUT, timeout)

    def url(self) -> str:
        """The account's URL, without a slash at its end. Logs in when need be."""
        with self._lock:
            if not self._url:
                assert self._session is not None, "a login without one has its URL"
                with _meaning(self._login):
                    self._url = self._session.get_endpoint(skip_discovery=True, **self._where) or ""
                if not self._url:
                    region = f" in the region {self._login.region}" if self._login.region else ""
                    raise errors.UsageError(
                        f"the login names no {self._login.service_type} service{region}",
                        remedy="Check OS_REGION_NAME (--region), or set OS_STORAGE_URL.",
                    )
            return self._url.rstrip("/")

    def token(self) -> str:
        """A token to send, "" for none. Logs in when need be; raises `BadCredentials` and more."""
        if self._session is None:
            return self._login.token
        with _meaning(self._login):
            return self._session.get_token() or ""

    def renew(self, refused: str) -> bool:
        """Whether to try again: the token was refused, and there is or will be another one."""
        if self._session is None:
            return False
        with self._lock:
            if self.token() == refused:
                self._session.invalidate()
        return True

    def _of_cloud(self, login: Login) -> ks_session.Session:
        try:
            from openstack.config import OpenStackConfig
            from openstack.exceptions import ConfigException
        except ImportError as error:
            raise errors.UsageError(
                "clouds.yaml needs the Python package openstacksdk",
                remedy="Install it: pip install 'objfs[swift]'.",
            ) from error
        try:
            with warnings.catch_warnings():
                # it warns of its own metrics, which nobody here asked for
                for kind in (DeprecationWarning, PendingDeprecationWarning):
                    warnings.simplefilter("ignore", kind)
                cloud = OpenStackConfig().get_one(cloud=login.cloud)
            session = cloud.get_session()
        except (ConfigException, ks.MissingRequiredOptions, ks.NoMatchingPlugin) as error:
            raise errors.UsageError(
                f"the cloud {login.cloud} cannot be used: {' '.join(str(error).split())}",
                remedy="Check OS_CLOUD (--profile) and clouds.yaml.",
            ) from error
        self._url = self._url or cloud.get_endpoint("object-store") or ""
        self._where["interface"] = cloud.get_interface("object-store") or "public"
        self._where["region_name"] = login.region or cloud.get_region_name("object-store")
        verify, certificate = cloud.get_requests_verify_args()
        self.verify = verify is not False
        self.ca_file = login.ca_file or (verify if isinstance(verify, str) else "")
        self.certificate = certificate if isinstance(certificate, tuple) else None
        if self.ca_file:
            session.verify = self.ca_file
        return session


def plugin_for(login: Login) -> BaseAuthPlugin:
    """The way to log in, as keystoneauth knows it."""
    if login.kind == "v1":
        plugin: BaseAuthPlugin = PasswordPlugin(
            auth_url=login.auth_url, username=login.user, password=login.password
        )
        return plugin
    if login.kind == "v2":
        return v2.Password(
            _versioned(login.auth_url, "v2.0"),
            username=login.user or None,
            user_id=login.user_id or None,
            password=login.password,
            tenant_id=login.scope.get("project_id"),
            tenant_name=login.scope.get("project_name"),
        )
    auth_url = _versioned(login.auth_url, "v3")
    scope: dict[str, Any] = {k: v for k, v in login.scope.items() if not k.startswith("user_")}
    if login.kind == "v3app":
        return v3.ApplicationCredential(
            auth_url,
            application_credential_secret=login.password,
            application_credential_id=login.application_credential,
        )
    if login.kind == "v3token":
        return v3.Token(auth_url, login.token, **scope)
    return v3.Password(
        auth_url,
        password=login.password,
        username=login.user or None,
        user_id=login.user_id or None,
        user_domain_id=login.scope.get("user_domain_id"),
        user_domain_name=login.scope.get("user_domain_name"),
        **scope,
    )


def _versioned(url: str, version: str) -> str:
    """Keystone's URL with the version that the login needs; people give it with and without."""
    bare = url.rstrip("/")
    return bare if bare.endswith(f"/{version}") else f"{bare}/{version}"


@contextmanager
def _meaning(login: Login) -> Iterator[None]:
    """Turn what keystoneauth raises into `objfs.errors`, with the login's URL."""
    what = f"LOGIN {login.cloud or login.auth_url}"
    try:
        yield
    except (ks.Unauthorized, ks.Forbidden, ks.BadRequest) as error:
        raise errors.BadCredentials(
            f"{what}: the login is refused (HTTP {error.http_status})", remedy=_SIGN_IN
        ) from error
    except ks.InvalidResponse as error:
        raise errors.UsageError(
            f"{what}: what answered is no Swift login", remedy=_REACH
        ) from error
    except (ks.HttpServerError, ks.TooManyRequests) as error:
        raise errors.Unavailable(
            f"{what}: the login service cannot serve now (HTTP {error.http_status})"
        ) from error
    except ks.HttpError as error:
        raise errors.UsageError(
            f"{what}: this URL is no login service (HTTP {error.http_status})", remedy=_REACH
        ) from error
    except ks.EndpointNotFound as error:
        raise errors.UsageError(
            f"{what}: the login names no {login.service_type} service for the"
            f" {login.interface} interface",
            remedy="Check OS_REGION_NAME (--region) and OS_ENDPOINT_TYPE.",
        ) from error
    except ks.SSLError as error:
        raise errors.Unreachable(
            f"{what}: TLS failed",
            remedy="For a private certificate authority give its file with --ca-bundle.",
        ) from error
    except ks.ConnectTimeout as error:
        raise errors.TimedOut(f"{what}: no answer in time", remedy=_REACH) from error
    except (ks.ConnectionError, requests.RequestException) as error:
        raise errors.Unreachable(f"{what}: no connection", remedy=_REACH) from error
    except (ks.ClientException, ValueError) as error:
        raise errors.BadCredentials(
            f"{what}: {' '.join(str(error).split())[:300]}", remedy=_SIGN_IN
        ) from error
