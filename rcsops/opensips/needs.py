"""What each module is compiled with: Debian's packages, and how to see whether they are there."""

from typing import NamedTuple

from rcsops.opensips.releases import Line


class Need(NamedTuple):
    """A Debian package that something is compiled with, and how to see whether it is there.

    ``headers`` are included, in order, in a probe that is compiled; ``programs`` must be on PATH;
    ``config`` is a command that prints more options for the compiler.
    """

    package: str
    headers: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    config: tuple[str, ...] = ()


BUILD_TOOLS: tuple[Need, ...] = (
    Need("gcc", programs=("gcc",)),
    Need("libc6-dev", headers=("stdio.h", "pthread.h")),
    Need("make", programs=("make",)),
    Need("bison", programs=("bison",)),
    Need("flex", programs=("flex",)),
)

_MYSQL = Need(
    "default-libmysqlclient-dev", headers=("mysql.h",), config=("mysql_config", "--include")
)
_SQLITE = Need("libsqlite3-dev", headers=("sqlite3.h",))
_POSTGRES = Need("libpq-dev", headers=("libpq-fe.h",), config=("pg_config", "--includedir"))
_HTTPD = Need("libmicrohttpd-dev", headers=("stdint.h", "microhttpd.h"))
_SSL = Need("libssl-dev", headers=("openssl/ssl.h",))
_XML = Need("libxml2-dev", headers=("libxml/parser.h",), config=("xml2-config", "--cflags"))
_CURL = Need("libcurl4-openssl-dev", headers=("curl/curl.h",))
_JSON = Need("libjson-c-dev", headers=("json-c/json.h",))
_PCRE1 = Need("libpcre3-dev", headers=("pcre.h",))
_PCRE2 = Need("libpcre2-dev", headers=("pcre2posix.h",))
_RABBITMQ = Need("librabbitmq-dev", headers=("stdint.h", "amqp.h"))
_LDAP = Need("libldap2-dev", headers=("ldap.h",))
_EXPAT = Need("libexpat1-dev", headers=("expat.h",))
_UUID = Need("uuid-dev", headers=("uuid/uuid.h",))

# The modules whose packages are known. A module that stands in upstream's exclude_modules and not
# here needs more than Debian has or than we have seen built.
BUILD_NEEDS: dict[str, tuple[Need, ...]] = {
    "auth_web3": (_CURL,),
    "b2b_logic": (_XML,),
    "b2b_logic_xml": (_XML,),
    "cachedb_memcached": (Need("libmemcached-dev", headers=("libmemcached/memcached.h",)),),
    "cachedb_redis": (Need("libhiredis-dev", headers=("hiredis/hiredis.h",)),),
    "carrierroute": (Need("libconfuse-dev", headers=("confuse.h",)),),
    "cgrates": (_JSON,),
    "compression": (Need("zlib1g-dev", headers=("zlib.h",)),),
    "cpl_c": (_XML,),
    "db_http": (_CURL,),
    "db_mysql": (_MYSQL,),
    "db_postgres": (_POSTGRES,),
    "db_sqlite": (_SQLITE,),
    "db_unixodbc": (Need("unixodbc-dev", headers=("sql.h",)),),
    "dialplan": (_PCRE2,),
    "emergency": (_CURL,),
    "event_kafka": (Need("librdkafka-dev", headers=("librdkafka/rdkafka.h",)),),
    "event_rabbitmq": (_RABBITMQ,),
    "h350": (_LDAP,),
    "httpd": (_HTTPD,),
    "identity": (_SSL,),
    "jabber": (_EXPAT,),
    "json": (_JSON,),
    "ldap": (_LDAP,),
    "mi_xmlrpc": (_XML,),
    "mi_xmlrpc_ng": (_XML,),
    "pi_http": (_XML,),
    "presence": (_XML,),
    "presence_dfks": (_XML,),
    "presence_dialoginfo": (_XML,),
    "presence_mwi": (_XML,),
    "presence_reginfo": (_XML,),
    "presence_xml": (_XML,),
    "proto_ipsec": (Need("libmnl-dev", headers=("libmnl/libmnl.h",)),),
    "proto_sctp": (Need("libsctp-dev", headers=("netinet/sctp.h",)),),
    "proto_tls": (_SSL,),
    "proto_wss": (_SSL,),
    "pua": (_XML,),
    "pua_bla": (_XML,),
    "pua_dialoginfo": (_XML,),
    "pua_mi": (_XML,),
    "pua_reginfo": (_XML,),
    "pua_usrloc": (_XML,),
    "pua_xmpp": (_XML,),
    "rabbitmq": (_RABBITMQ,),
    "rabbitmq_consumer": (_RABBITMQ,),
    "regex": (_PCRE2,),
    "rest_client": (_CURL,),
    "rls": (_XML,),
    "siprec": (_UUID,),
    "stir_shaken": (_SSL,),
    "tls_mgm": (_SSL,),
    "tls_openssl": (_SSL,),
    "uuid": (_UUID,),
    "xcap": (_XML,),
    "xcap_client": (_XML, _CURL),
    "xml": (_XML,),
    "xmpp": (_EXPAT,),
}


def build_needs(modules: tuple[str, ...], line: Line) -> tuple[Need, ...]:
    """What the core and these modules of a release of ``line`` are compiled with, each once."""
    needs = dict.fromkeys(BUILD_TOOLS)
    for name in modules:
        needs.update(dict.fromkeys(BUILD_NEEDS.get(name, ())))
        if line > (3, 0) and name in _DIGEST_MODULES:
            # Without its headers the digest library is built with MD5 alone, and nobody says so.
            needs[_SSL] = None
    if line <= (3, 0):
        needs = dict.fromkeys(_PCRE1 if need is _PCRE2 else need for need in needs)
    return tuple(needs)


_DIGEST_MODULES = {"auth", "uac_auth", "uac", "uac_registrant", "auth_aka"}
