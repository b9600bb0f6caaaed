"""What the options of `rcsops trace` and `rcsops demo` take; apart, so that `--help` stays fast."""

FORMATS = ("text", "mermaid", "svg", "html", "pcap", "trace")
"""Those of `rcsops.trace.export_text.FORMATS`."""
