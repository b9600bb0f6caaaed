"""Telling a person what happens elsewhere: a note on the screen, the bell, the desktop."""

import logging
import time

from textual.app import App

from rcsops.text import visible
from rcsops.tui.alerts import desktop_notice
from rcsops.tui.hearing_rows import Alert

__all__ = ["AlertDesk", "LogNotices"]

# One conversation speaks up once in so long; more would be noise.
_ALERT_SECONDS = 5.0
_MOST = 20
_LONGEST = 600


class AlertDesk:
    """Tells alerts to the person in front of ``app``, by the setting ``chat.notifications``:
    "desktop" (with the bell), "bell" or "off"."""

    def __init__(self, app: App[int], notifications: str) -> None:
        self._app = app
        self._notifications = notifications
        self._told_at: dict[str, float] = {}

    def tell(self, alerts: list[Alert], *, shown: str) -> None:
        """Tells what has gathered; ``shown`` is the peer of the conversation on the screen."""
        for alert in alerts[:_MOST]:
            if alert.severity == "information" and alert.peer:
                now = time.monotonic()
                if now - self._told_at.get(alert.peer, float("-inf")) < _ALERT_SECONDS:
                    continue
                self._told_at[alert.peer] = now
            if alert.loud and not self._app.app_focus:
                self._call(alert)
            if not alert.peer or alert.peer != shown or alert.severity == "error":
                self._app.notify(
                    visible(alert.body, keep="\n")[:_LONGEST],
                    title=visible(alert.title),
                    severity=alert.severity,
                    timeout=10 if alert.severity == "error" else 5,
                    markup=False,
                )

    def _call(self, alert: Alert) -> None:
        if self._notifications == "off":
            return
        self._app.bell()
        driver = self._app._driver
        if self._notifications == "desktop" and driver is not None:
            driver.write(desktop_notice(alert.title, alert.body))
            driver.flush()


class LogNotices(logging.Handler):
    """Log lines as notices of the screen, which owns the terminal."""

    def __init__(self, app: App[int]) -> None:
        super().__init__(logging.WARNING)
        self._app = app

    def emit(self, record: logging.LogRecord) -> None:
        words = visible(record.getMessage())
        if self._app.is_running:
            self._app.notify(words, severity="warning", markup=False)
