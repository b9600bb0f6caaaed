"""The names of MI commands: from 4.0 on they are ``module:command``; before, single words.

4.0 still knows most of the old names, older releases know none of the new ones. A person may type
either; `other_name` finds the one that a server may know instead.
"""

__all__ = ["other_name"]

# What no rule below gives.
_PAIRS = {
    "statistics:get": "get_statistics",
    "statistics:list": "list_statistics",
    "statistics:reset": "reset_statistics",
    "statistics:reset_all": "reset_all_statistics",
    "status_report:get": "sr_get_status",
    "status_report:status": "sr_list_status",
    "status_report:reports": "sr_list_reports",
    "status_report:identifiers": "sr_list_identifiers",
    "evi:subscribe": "event_subscribe",
    "evi:list": "events_list",
    "evi:subscribers": "subscribers_list",
    "evi:raise": "raise_event",
    "tcp:list": "list_tcp_conns",
    "tracer:trace": "trace",
    "tm:uac_dlg": "t_uac_dlg",
    "tm:uac_cancel": "t_uac_cancel",
    "tm:hash": "t_hash",
    "tm:reply": "t_reply",
    "permissions:address_reload": "address_reload",
    "permissions:address_dump": "address_dump",
    "dialog:profile_get_size": "profile_get_size",
    "dialog:profile_list_dlgs": "profile_list_dlgs",
    "dialog:profile_get_values": "profile_get_values",
    "dialog:profile_end_dlgs": "profile_end_dlgs",
    "dialog:list_all_profiles": "list_all_profiles",
}
_OLD = {old: new for new, old in _PAIRS.items()}

# The old names of a module begin with this.
_PREFIXES = {
    "usrloc": "ul_",
    "dialog": "dlg_",
    "pike": "pike_",
    "nathelper": "nh_",
    "ratelimit": "rl_",
    "dispatcher": "ds_",
    "tls_mgm": "tls_",
    "clusterer": "clusterer_",
    "domain": "domain_",
    "mem": "mem_",
    "cache": "cache_",
}
_CORE = {
    "uptime", "version", "pwd", "arg", "which", "ps", "kill", "log_level", "xlog_level",
    "log_level_filter", "log_mute_state", "reload_routes", "help",
}  # fmt: skip


def other_name(name: str) -> str | None:
    """The new name of a command for its old one and the other way round, None if there is none."""
    if pair := _PAIRS.get(name) or _OLD.get(name):
        return pair
    module, separator, command = name.partition(":")
    if separator:
        if module == "core":
            return command
        return f"{_PREFIXES.get(module, '')}{command}"
    if name in _CORE:
        return f"core:{name}"
    for module, prefix in _PREFIXES.items():
        if name.startswith(prefix):
            return f"{module}:{name.removeprefix(prefix)}"
    return None
