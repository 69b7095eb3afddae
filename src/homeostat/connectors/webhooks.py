"""Sends alerts to an address on the web."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec

from homeostat.connectors.outgoing import Outgoing, target_of
from homeostat.errors import DeliveryFailed, HomeostatError
from homeostat.records import Alert, Finding

MOST_WAITING = 100
FIRST_REFUSAL = 300
_LOG = logging.getLogger("homeostat.alerts")


class WebhookNotifier:
    """Posts each alert that changed as JSON: `{"alert": ..., "finding": ...}`.

    A thread of its own does it, once for each: whoever raised the alert is not held up. What can't be delivered is in
    the log, and the alert is kept all the same. Raises `DestinationRefused` for an address that can't be one.
    """

    def __init__(self, url: str, outgoing: Outgoing, *, allow_private: bool = False) -> None:
        self._shown = target_of(url, allow_private=allow_private).shown
        self._url = url
        self._outgoing = outgoing
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="webhook")
        self._room = threading.BoundedSemaphore(MOST_WAITING)

    def notify(self, alert: Alert, finding: Finding | None) -> None:
        if not self._room.acquire(blocking=False):
            _LOG.error("Alert %s is not sent to %s: %d others wait.", alert.id, self._shown, MOST_WAITING)
            return
        content = msgspec.json.encode({"alert": alert, "finding": finding})
        self._sender.submit(self._send, alert.id, content)

    def _send(self, alert: str, content: bytes) -> None:
        try:
            reply = self._outgoing.post(self._url, content, headers={"Content-Type": "application/json"})
            if reply.status >= FIRST_REFUSAL:
                raise DeliveryFailed(to=self._shown, reason=f"it answered with status {reply.status}")
        except HomeostatError as error:
            _LOG.error("Alert %s could not be sent: %s", alert, error)
        except Exception:
            _LOG.exception("Alert %s could not be sent to %s.", alert, self._shown)
        finally:
            self._room.release()
