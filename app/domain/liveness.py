"""Signs of life of clients: when a client counts as silent, when it is probed, and what a probe changes."""

import math
from dataclasses import replace

from app.domain.clients import Client, ClientStatus

MISSED_FOR_DOWN = 3  # intervals without a sign of life


def silence(client: Client, now: float, interval: float) -> float:
    """Seconds since the client's last sign of life, one being due every `interval` seconds.

    Its registration counts as a sign of life, so the agent has an interval to start; a change of its profile does not.
    A sign that lies more than an interval in the future is ignored: the clock that recorded it, or this one, is wrong,
    and the client would seem alive until then.
    """
    signs = client.created_at if client.last_seen_at is None else client.last_seen_at, client.created_at
    believed = [sign for sign in signs if sign <= now + interval]
    return max(0.0, now - believed[0]) if believed else math.inf


def needs_probe(client: Client, now: float, interval: float) -> bool:
    """Tell whether a client is probed.

    It is if it missed a sign of life, due every `interval` seconds, is not healthy, or has to prove its address.
    """
    if client.status != "healthy" or client.has_to_prove:
        return True
    return liveness(silence(client, now, interval), interval) != "healthy"


def probed(client: Client, now: float, interval: float, *, alive: bool) -> Client:
    """Return the client after a probe, which found it `alive` or not. It sends signs of life every `interval` seconds.

    A probe that failed never improves the status: a sign of life from before does not outweigh it.
    """
    if alive:
        return alive_again(client, now)
    status = liveness(silence(client, now, interval), interval)
    return client if status == "healthy" else replace(client, status=status)


def alive_again(client: Client, now: float) -> Client:
    """Return the client after a sign of life. If it was silent before, its breaker may admit a probe earlier."""
    breaker = client.breaker if client.status == "healthy" else client.breaker.hasten(now)
    return replace(client, last_seen_at=now, status="healthy", breaker=breaker)


def liveness(silent_seconds: float, interval: float) -> ClientStatus:
    """Return the status after `silent_seconds` without a sign of life, if one is due every `interval` seconds."""
    if silent_seconds <= interval:
        return "healthy"
    return "suspect" if silent_seconds <= MISSED_FOR_DOWN * interval else "down"
