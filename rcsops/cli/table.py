"""The commands, in the groups of ``rcsops --help``.

The line of help stands here, so that ``rcsops --help`` and completion import no command.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: its line of help, and the module and attribute that it is found at."""

    help: str
    module: str
    attribute: str


GROUPS: dict[str, dict[str, Entry]] = {
    "Project": {
        "init": Entry("Write rcsops.toml, the settings of a project.", "init", "init"),
    },
    "Database and users": {
        "db": Entry("Make, look at, change and save the server's database.", "db", "db"),
        "user": Entry("Add, list, show, change, remove, import and export accounts.",
                      "user", "user"),
    },
    "Server": {
        "config": Entry("Make and look over the configuration of an OpenSIPS.",
                        "config", "config"),
        "install": Entry("Build an OpenSIPS from source, or adopt one that is here.",
                         "install", "install"),
        "certs": Entry("Make the certificates of a lab, for TLS.", "certs", "certs"),
        "start": Entry("Start the SIP server.", "server", "start"),
        "stop": Entry("Stop the SIP server.", "server", "stop"),
        "restart": Entry("Stop the SIP server and start it again.", "server", "restart"),
        "reload": Entry("Let OpenSIPS read its script anew.", "server", "reload"),
        "status": Entry("Show whether the server runs, where it listens, and how many use it.",
                        "server", "status"),
        "top": Entry("Watch the server: registrations, messages a second, its processes.",
                     "top", "top"),
        "logs": Entry("Show the server's log.", "server", "logs"),
        "service": Entry("Write a unit of systemd for the server.", "server", "service"),
        "mi": Entry("Send a command to the server's management interface.", "mi", "mi"),
        "contacts": Entry("Show who is registered, and where.", "mi", "contacts"),
        "dialogs": Entry("Show which calls are going on.", "mi", "dialogs"),
    },
    "Chat": {
        "chat": Entry("Register as a user and chat with another.", "chat", "chat"),
        "send": Entry("Send one message or file, and say what became of it.", "send", "send"),
        "listen": Entry("Print what comes for a user, and let a command answer.",
                        "listen", "listen"),
        "capabilities": Entry("Ask a peer's devices what they can do.",
                              "capabilities", "capabilities"),
        "history": Entry("Show, search and export the messages of a user's chats.",
                         "history", "history"),
    },
    "Tools": {
        "demo": Entry("Show two users register, chat and hang up, with every message.",
                      "demo", "demo"),
        "trace": Entry("Draw the ladder of SIP and MSRP messages, or write it as a page.",
                       "trace", "trace"),
        "doctor": Entry("Look for every known cause of trouble, and say how to mend it.",
                        "doctor", "doctor"),
        "load": Entry("Put a SIP server under load: many agents register, call and chat.",
                      "load", "load"),
        "completion": Entry("Print the completion script for bash, zsh or fish.",
                            "completion", "completion"),
    },
}  # fmt: skip

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
