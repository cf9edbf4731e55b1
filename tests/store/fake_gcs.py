"""Google Cloud Storage on loopback, as its reference describes it, for one bucket named "b".

No server that can be had keeps generations, conditions and pages as Google does, so this one is
written from the reference (https://cloud.google.com/storage/docs/json_api/v1 and .../xml-api), and
the contract of the drivers checks it as much as it checks the driver. It is strict where Google is:
conditions, sums of what is sent, part order; it rewrites in steps, and takes sessions in pieces.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

STEP = 2
"""Calls that a rewrite of more than nothing takes."""
Answer = tuple[int, dict[str, str], bytes]


def b64(digest: bytes) -> str:
    """As Google writes a sum."""
    return base64.b64encode(digest).decode()


@dataclass
class Object:
    """A stored version."""

    body: bytes
    generation: int
    told: dict[str, Any]
    etag: str
    whole: bool
    changed: float = field(default_factory=time.time)

    def resource(self, name: str) -> dict[str, Any]:
        """As the JSON API gives it; an object made of parts has no MD5."""
        updated = datetime.fromtimestamp(self.changed, UTC).isoformat(timespec="milliseconds")
        found = {
            "kind": "storage#object",
            "name": name,
            "size": str(len(self.body)),
            "generation": str(self.generation),
            "updated": updated.replace("+00:00", "Z"),
            "storageClass": "STANDARD",
            "crc32c": b64(google_crc32c.Checksum(self.body).digest()),
            **{key: self.told[key] for key in ("contentType", "metadata") if self.told.get(key)},
        }
        if self.whole:
            found["md5Hash"] = b64(hashlib.md5(self.body).digest())
        return found

    def headers(self) -> dict[str, str]:
        """As a download or the XML API gives them."""
        facts = self.resource("")
        sums = f"crc32c={facts['crc32c']}" + (f",md5={facts['md5Hash']}" if self.whole else "")
        return {
            "ETag": f'"{self.etag}"',
            "x-goog-generation": str(self.generation),
            "x-goog-stored-content-length": str(len(self.body)),
            "x-goog-hash": sums,
            "Last-Modified": formatdate(self.changed, usegmt=True),
            "Content-Type": facts.get("contentType", "application/octet-stream"),
        }


@dataclass
class Upload:
    """A session of the JSON API, or an upload in parts of the XML API."""

    name: str
    told: dict[str, Any]
    params: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)


class Refused(Exception):
    """An error answer: status, reason, sentence."""


@dataclass
class FakeGcs:
    """The bucket, and what a test may change."""

    endpoint: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    rewrites: dict[str, tuple[int, int]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    requests: list[str] = field(default_factory=list)
    cut_sessions_at: int = 0
    """A session's first body is cut here, once; 0 is never."""
    damage: bool = False
    """Downloads are damaged."""
    fail_after: list[int] = field(default_factory=list)
    """Statuses to answer with after the next writes were done."""
    _generation: int = field(default_factory=time.time_ns)

    def find(self, name: str) -> Object:
        """The object, or 404."""
        if name not in self.objects:
            raise Refused(404, "notFound", f"No such object: b/{name}")
        return self.objects[name]

    def check(self, name: str, params: dict[str, str], what: str = "ifGenerationMatch") -> None:
        """A condition on a name's generation; 0 is none."""
        if what in params:
            now = self.objects[name].generation if name in self.objects else 0
            if now != int(params[what]):
                raise Refused(412, "conditionNotMet", "At least one of the pre-conditions failed.")

    def store(self, name: str, body: bytes, told: dict[str, Any], etag: str = "") -> Object:
        """A new version, if the sums that came with it are its own."""
        if not 0 < len(name.encode()) <= 1024 or re.search(r"[\r\n]|^\.{1,2}$", name):
            raise Refused(400, "invalid", "Invalid object name.")
        sums = {
            "crc32c": b64(google_crc32c.Checksum(body).digest()),
            "md5Hash": b64(hashlib.md5(body).digest()),
        }
        for kind, right in sums.items():
            if told.get(kind, right) != right:
                raise Refused(400, "invalid", f"Provided {kind} doesn't match calculated {kind}")
        self._generation += 1
        made = Object(body, self._generation, told, etag or secrets.token_hex(8), whole=not etag)
        self.objects[name] = made
        return made

    def page(self, params: dict[str, str]) -> dict[str, Any]:
        """A listing: entries in byte order, from startOffset or behind the token."""
        prefix, delimiter = params.get("prefix", ""), params.get("delimiter", "")
        start = params.get("startOffset", "").encode()
        behind = base64.b64decode(params.get("pageToken", ""))
        limit = int(params.get("maxResults", "1000"))
        items: list[dict[str, Any]] = []
        prefixes: list[str] = []
        last = b""
        for name in sorted(self.objects, key=str.encode):
            if not name.startswith(prefix) or name.encode() < start:
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            entry = prefix + head + delimiter if found else name
            if entry.encode() <= behind or (found and entry in prefixes):
                continue
            if len(items) + len(prefixes) == limit:
                token = {"nextPageToken": b64(last)}
                return {"kind": "storage#objects", "items": items, "prefixes": prefixes, **token}
            last = entry.encode()
            if found:
                prefixes.append(entry)
            else:
                items.append(self.objects[name].resource(name))
        return {"kind": "storage#objects", "items": items, "prefixes": prefixes}


class Handler(BaseHTTPRequestHandler):
    """Both APIs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: ClassVar[FakeGcs]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_any(self) -> None:
        """One request."""
        url = urlsplit(self.path)
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length", 0))
        cut = self.fake.cut_sessions_at
        if cut and self.command == "PUT" and params.get("upload_id") and length:
            self.fake.cut_sessions_at = 0
            self.fake.uploads[params["upload_id"]].body += self.rfile.read(cut)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        accepts = self.headers.get("Accept-Encoding", "")
        self.fake.requests.append(f"{self.command} {self.path} {accepts}")
        try:
            with self.fake.lock:
                answer = self.route(url.path, params, body)
            if self.fake.fail_after and self.command != "GET":
                answer = self.refusal(
                    url.path, Refused(self.fake.fail_after.pop(0), "backendError", "Try again.")
                )
        except Refused as refused:
            answer = self.refusal(url.path, refused)
        status, headers, content = answer
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815  # http.server's

    def refusal(self, path: str, refused: Refused) -> Answer:
        """An error in the form of the API that was asked."""
        status, reason, sentence = refused.args
        if "/storage/v1/" not in path:
            text = f"<Error><Code>{reason}</Code><Message>{sentence}</Message></Error>"
            return status, {}, text.encode()
        error = {"code": status, "message": sentence, "errors": [{"reason": reason}]}
        return status, {}, json.dumps({"error": error}).encode()

    def route(self, path: str, params: dict[str, str], body: bytes) -> Answer:
        """The answer. Raises `Refused`."""
        if path.startswith("/upload/storage/v1/b/b/o"):
            return self.upload(params, body)
        place = re.fullmatch(
            r"/storage/v1/b/([^/]+)/o(?:/([^/]+)(?:/rewriteTo/b/b/o/(.+))?)?", path
        )
        if not place:
            return self.xml(unquote(path.removeprefix("/b/")), params, body)
        bucket, quoted, target = place.groups()
        if bucket != "b":
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        if quoted is None:
            return as_json(self.fake.page(params))
        name = unquote(quoted)
        if target:
            return as_json(self.rewrite(name, unquote(target), params, json.loads(body)))
        found = self.fake.find(name)
        self.fake.check(name, params)
        if self.command == "DELETE":
            del self.fake.objects[name]
            return 204, {}, b""
        return self.download(found) if "alt" in params else as_json(found.resource(name))

    def download(self, found: Object) -> Answer:
        """All of it, or a range; a body that was damaged on its way keeps its sums."""
        body = bytes(len(found.body)) if self.fake.damage else found.body
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            return 200, found.headers(), body
        start, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
        if start >= len(body):
            raise Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        told = {"Content-Range": f"bytes {start}-{last}/{len(body)}"}
        return 206, found.headers() | told, body[start : last + 1]

    def upload(self, params: dict[str, str], body: bytes) -> Answer:
        """A resource with its bytes, or a session for them."""
        if "upload_id" in params:
            return self.session(params["upload_id"], body)
        if params["uploadType"] == "resumable":
            told = json.loads(body)
            self.fake.check(told["name"], params)
            key = secrets.token_hex(8)
            size = int(self.headers["X-Upload-Content-Length"])
            self.fake.uploads[key] = Upload(told["name"], told, params, size=size)
            place = f"{self.fake.endpoint}/upload/storage/v1/b/b/o?upload_id={key}"
            return 200, {"Location": place}, b""
        mark = self.headers["Content-Type"].partition("boundary=")[2].encode()
        _, first, second = body.removesuffix(b"\r\n--" + mark + b"--\r\n").split(b"--" + mark, 2)
        told = json.loads(first.partition(b"\r\n\r\n")[2])
        self.fake.check(told["name"], params)
        content = second.partition(b"\r\n\r\n")[2]
        return as_json(self.fake.store(told["name"], content, told).resource(told["name"]))

    def session(self, key: str, body: bytes) -> Answer:
        """More bytes of a session, or the question how many it has."""
        if key not in self.fake.uploads:
            raise Refused(410, "gone", "The session is over.")
        upload = self.fake.uploads[key]
        place = re.fullmatch(r"bytes (\d+)-\d+/\d+", self.headers.get("Content-Range", ""))
        if place and int(place[1]) != len(upload.body):
            raise Refused(503, "backendError", "These are not the next bytes.")
        upload.body += body
        if len(upload.body) < upload.size:
            have = {"Range": f"bytes=0-{len(upload.body) - 1}"} if upload.body else {}
            return 308, have, b""
        del self.fake.uploads[key]
        self.fake.check(upload.name, upload.params)
        return as_json(self.fake.store(upload.name, upload.body, upload.told).resource(upload.name))

    def rewrite(
        self, source: str, target: str, params: dict[str, str], told: dict[str, Any]
    ) -> dict[str, Any]:
        """A copy in steps; a token goes on with the generation that it began with."""
        self.fake.check(source, params, "ifSourceGenerationMatch")
        found = self.fake.find(source)
        self.fake.check(target, params)
        token = params.get("rewriteToken", secrets.token_hex(4))
        generation, steps = self.fake.rewrites.pop(token, (found.generation, 1))
        if generation != found.generation:
            raise Refused(412, "conditionNotMet", "The source changed.")
        if found.body and steps < STEP:
            self.fake.rewrites[token] = (generation, steps + 1)
            return {"done": False, "rewriteToken": token}
        kept = {key: found.told.get(key) for key in ("contentType", "metadata")}
        made = self.fake.store(target, found.body, told or kept, "" if found.whole else found.etag)
        return {"done": True, "resource": made.resource(target)}

    def xml(self, name: str, params: dict[str, str], body: bytes) -> Answer:
        """Uploads in parts."""
        if "uploads" in params:
            meta = {
                key.lower().removeprefix("x-goog-meta-"): value
                for key, value in self.headers.items()
                if key.lower().startswith("x-goog-meta-")
            }
            told = {"contentType": self.headers["Content-Type"], "metadata": meta}
            key = secrets.token_hex(8)
            self.fake.uploads[key] = Upload(name, told)
            return as_xml("InitiateMultipartUploadResult", f"<UploadId>{key}</UploadId>")
        upload = self.fake.uploads.get(params.get("uploadId", ""))
        if upload is None or upload.name != name:
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        if self.command == "PUT":
            digest = hashlib.md5(body)
            if self.headers.get("Content-MD5") != b64(digest.digest()):
                raise Refused(400, "BadDigest", "The Content-MD5 does not match the body.")
            upload.parts[int(params["partNumber"])] = body
            return 200, {"ETag": f'"{digest.hexdigest()}"'}, b""
        if self.command == "GET":
            return self.listed(upload, params)
        if self.command == "POST":
            return self.complete(upload, params["uploadId"], body.decode())
        del self.fake.uploads[params["uploadId"]]
        return 204, {}, b""

    def listed(self, upload: Upload, params: dict[str, str]) -> Answer:
        """A page of an upload's parts."""
        rest = sorted(n for n in upload.parts if n > int(params.get("part-number-marker", 0)))
        some = rest[: int(params.get("max-parts", 1000))]
        text = "".join(
            f"<Part><PartNumber>{n}</PartNumber><Size>{len(upload.parts[n])}</Size>"
            f"<ETag>&quot;{hashlib.md5(upload.parts[n]).hexdigest()}&quot;</ETag></Part>"
            for n in some
        )
        more = str(len(rest) > len(some)).lower()
        marker = f"<NextPartNumberMarker>{some[-1] if some else 0}</NextPartNumberMarker>"
        return as_xml("ListPartsResult", f"{text}<IsTruncated>{more}</IsTruncated>{marker}")

    def complete(self, upload: Upload, key: str, text: str) -> Answer:
        """The parts that are named, in order, each as it was sent."""
        named = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>\"(\w+)\"</ETag>", text)
        bodies = [upload.parts.get(int(number), b"") for number, _ in named]
        right = [
            hashlib.md5(body).hexdigest() == etag
            for body, (_, etag) in zip(bodies, named, strict=True)
        ]
        numbers = [int(number) for number, _ in named]
        if not named or not all(right) or numbers != sorted(set(numbers)):
            raise Refused(400, "InvalidPart", "One or more of the specified parts is not there.")
        if any(len(body) < 5 * 2**20 for body in bodies[:-1]):
            raise Refused(400, "EntityTooSmall", "A part is too small.")
        del self.fake.uploads[key]
        etag = f"{secrets.token_hex(16)}-{len(named)}"
        self.fake.store(upload.name, b"".join(bodies), upload.told, etag)
        return as_xml("CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>")


def as_json(answer: dict[str, Any]) -> Answer:
    """An answer of the JSON API."""
    return 200, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(answer).encode()


def as_xml(tag: str, inner: str) -> Answer:
    """An answer of the XML API."""
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    text = f"<?xml version='1.0' encoding='UTF-8'?><{tag} {space}>{inner}</{tag}>"
    return 200, {"Content-Type": "application/xml"}, text.encode()


@contextmanager
def fake_gcs() -> Iterator[FakeGcs]:
    """A running one, empty."""
    fake = FakeGcs()
    handler = type("FakeGcsHandler", (Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        fake.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
