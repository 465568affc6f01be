"""A name server that lies, and a resolver that asks it."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_TYPES = {"A": 1, "CNAME": 5, "AAAA": 28}
_OK, _NO_SUCH_NAME = 0x8180, 0x8183  # flags of an answer (RFC 1035, 4.1.1)


@dataclass
class Zone:
    """Names and their answers.

    Attributes:
        records: of each name, its answers to successive questions (the last one is repeated); an
            answer is `A 10.0.0.1`, `AAAA ::1`, `CNAME other.test`, or some, comma-separated.
        asked: (name, type) of every question that came.
    """

    records: Mapping[str, list[str]]
    asked: list[tuple[str, str]] = field(default_factory=list)
    _given: dict[tuple[str, str], int] = field(default_factory=dict)

    def answer(self, name: str, kind: str) -> list[tuple[str, str]]:
        """(type, data) of each record that is the answer now."""
        self.asked.append((name, kind))
        turn = self._given.get((name, kind), 0)
        self._given[name, kind] = turn + 1
        answers = self.records.get(name, [""])
        chosen = answers[min(turn, len(answers) - 1)]
        found = [item.split() for item in chosen.split(",") if item]
        return [(has, data) for has, data in found if has in {kind, "CNAME"}]


@contextmanager
def name_server(zone: Zone) -> Iterator[int]:
    """Answers over UDP on the port it gives; every TTL is 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            while question := server.recvfrom(512):
                data, client = question
                if not data:
                    return
                server.sendto(_answer(data, zone), client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield port
        server.sendto(b"", ("127.0.0.1", port))
        thread.join(60)


def resolver(port: int) -> Any:
    """Stands in for `socket.getaddrinfo`, and asks the name server at `port`."""

    def resolve(host: str, service: int, *, type: int = 0) -> list[Any]:  # noqa: A002
        found = [
            (family, type, 6, "", (address, service))
            for kind, family in (("A", socket.AF_INET), ("AAAA", socket.AF_INET6))
            for address in _ask(port, host, kind)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    return resolve


def _answer(question: bytes, zone: Zone) -> bytes:
    name, end = _read_name(question, 12)
    (number,) = struct.unpack_from(">H", question, end)
    kind = next(kind for kind, value in _TYPES.items() if value == number)
    records = zone.answer(name, kind)
    flags = _OK if name in zone.records else _NO_SUCH_NAME
    head = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    body = b""
    for has, data in records:
        packed = _write_name(data) if has == "CNAME" else ipaddress.ip_address(data).packed
        body += b"\xc0\x0c" + struct.pack(">HHIH", _TYPES[has], 1, 0, len(packed)) + packed
    return head + question[12 : end + 4] + body


def _ask(port: int, name: str, kind: str) -> list[str]:
    """Addresses of `name`, through any aliases."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(60)
        head = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0)
        question = head + _write_name(name) + struct.pack(">HH", _TYPES[kind], 1)
        client.sendto(question, ("127.0.0.1", port))
        answer = client.recv(4096)
    found = []
    at = len(question)
    for _ in range(struct.unpack_from(">H", answer, 6)[0]):
        _, at = _read_name(answer, at)
        number, _, _, length = struct.unpack_from(">HHIH", answer, at)
        data = answer[at + 10 : at + 10 + length]
        if number == _TYPES["CNAME"]:
            found += _ask(port, _read_name(answer, at + 10)[0], kind)
        else:
            found.append(str(ipaddress.ip_address(data)))
        at += 10 + length
    return found


def _write_name(name: str) -> bytes:
    labels = (label.encode() for label in name.split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    """A name, and where what follows it begins."""
    labels = []
    while length := message[at]:
        if length >= 0xC0:
            pointer = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            labels.append(_read_name(message, pointer)[0])
            return ".".join(labels), at + 2
        labels.append(message[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1
