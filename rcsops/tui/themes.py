"""The colours: dark, light, and high contrast."""

from textual.theme import Theme

__all__ = ["NAMES", "THEMES"]

NAMES = {"dark": "rcsops-dark", "light": "rcsops-light", "contrast": "rcsops-contrast"}
"""What the settings call them."""

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
        variables={"footer-key-foreground": "#7aa2f7", "border": "#3b4261"},
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
        variables={"footer-key-foreground": "#1d4fa8", "border": "#b9bcc4"},
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
        },
    ),
)
