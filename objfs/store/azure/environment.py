"""What the environment says of an Azure account. No SDK is imported here."""

from collections.abc import Mapping

PUBLIC = "core.windows.net"


def place(environ: Mapping[str, str]) -> str:
    """Which account a mount would be of, without a secret: for telling two accounts apart.

    A container's name means nothing without its account, which the URL does not name.
    """
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = (word.partition("=") for word in text.split(";"))
    words = {name.strip().lower(): value.strip() for name, _, value in pairs}
    account = words.get("accountname") or environ.get("AZURE_STORAGE_ACCOUNT", "")
    suffix = words.get("endpointsuffix", PUBLIC)
    server = environ.get("AZURE_STORAGE_SERVICE_ENDPOINT") or words.get("blobendpoint", "")
    found = {
        "account": account,
        "suffix": "" if suffix == PUBLIC else suffix,
        "server": server.partition("?")[0].rstrip("/"),  # behind a "?" may be a SAS
    }
    return " ".join(f"{name}={value}" for name, value in found.items() if value)
