"""Ports for servers of the tests: seconds pass until one listens, and none is given twice meanwhile."""

import socket
from typing import Any

import pytest

from tests.support.server import free_port


def test_a_port_is_given_once_though_nobody_listens_on_it_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    bound = socket.socket.bind
    wanted = [first, 0]

    def bind(self: socket.socket, address: Any) -> None:
        bound(self, (address[0], wanted.pop(0)))

    monkeypatch.setattr(socket.socket, "bind", bind)

    assert free_port() != first
    assert wanted == []
