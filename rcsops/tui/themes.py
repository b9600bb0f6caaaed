"""The colours: dark, light, and high contrast.

Whatever is to be read has a contrast of 4.5 to 1 with what it stands on (WCAG 2.2, 1.4.3), also the
muted and the chosen; a test measures it in every state of the screen.
"""

from textual.theme import Theme

__all__ = ["NAMES", "THEMES"]

NAMES = {"dark": "rcsops-dark", "light": "rcsops-light", "contrast": "rcsops-contrast"}
"""What the settings call them."""


def _marked(ground: str) -> dict[str, str]:
    """What the line stands on that is chosen: on it, too, muted words can be read."""
    return {"marked": ground, "block-cursor-blurred-background": ground}


def _scrollbar(track: str, thumb: str, grabbed: str) -> dict[str, str]:
    """One that is seen where something scrolls, and not where nothing does."""
    tracks = ("background", "background-hover", "background-active", "corner-color")
    return {
        **{f"scrollbar-{name}": track for name in tracks},
        "scrollbar": thumb,
        "scrollbar-hover": grabbed,
        "scrollbar-active": grabbed,
    }


THEMES = (
    Theme(
        name="rcsops-dark",
        primary="#7aa2f7",
        secondary="#9aa5ce",
        accent="#2ac3de",
        success="#9ece6a",
        warning="#e0af68",
        error="#f7768e",
        foreground="#d5d9e8",
        background="#16181f",
        surface="#1c1f29",
        panel="#262a37",
        dark=True,
        variables={
            "footer-key-foreground": "#7aa2f7",
            "border": "#3b4261",
            "text-muted": "#a9aebc",
            "foreground-muted": "#969cae",
            **_marked("#2f3856"),
            **_scrollbar("#16181f", "#4a5178", "#7aa2f7"),
        },
    ),
    Theme(
        name="rcsops-light",
        primary="#1d4fa8",
        secondary="#4b5b7a",
        accent="#00708a",
        success="#2f6b1f",
        warning="#8a5a00",
        error="#b3202c",
        foreground="#1c2230",
        background="#fbfbf9",
        surface="#f1f1ee",
        panel="#e3e4e2",
        dark=False,
        variables={
            "footer-key-foreground": "#1d4fa8",
            "border": "#b9bcc4",
            "text-muted": "#51565f",
            "foreground-muted": "#5a5f6b",
            **_marked("#cdd9ee"),
            **_scrollbar("#fbfbf9", "#a9b1c4", "#1d4fa8"),
        },
    ),
    Theme(
        name="rcsops-contrast",
        primary="#ffff00",
        secondary="#ffffff",
        accent="#00ffff",
        success="#00ff00",
        warning="#ffff00",
        error="#ff6666",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#202020",
        dark=True,
        text_alpha=1.0,
        variables={
            "footer-key-foreground": "#ffff00",
            "text-muted": "#e0e0e0",
            "foreground-muted": "#e0e0e0",
            "border": "#ffffff",
            **_marked("#404000"),
            **_scrollbar("#000000", "#b0b0b0", "#ffff00"),
        },
    ),
)
