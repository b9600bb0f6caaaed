"""The location service and what goes to the database."""

from hypothesis import given
from hypothesis import strategies as st

from rcsops.server.location import Binding, LocationService
from rcsops.server.location_writer import binding_of, row_of
from rcsops.sip import Flow


def make(contact: str = "sip:bob@192.0.2.1", expires: float = 100.0, **more: object) -> Binding:
    return Binding(
        "bob@rcs.example",
        contact,
        f"<{contact}>",
        expires=expires,
        call_id="call",
        cseq=3,
        **more,  # type: ignore[arg-type]
    )


def test_a_refreshed_binding_outlives_its_first_end() -> None:
    service = LocationService()
    old = make(expires=10.0)
    service.add(old)
    service.replace(old, make(expires=50.0))
    assert service.expire(20.0) == 0
    assert service.contacts == 1
    assert service.expire(50.0) == 1
    assert service.users == 0


def test_changes_are_noted_once_and_a_binding_never_stored_needs_no_removal() -> None:
    service = LocationService()
    first = make()
    service.add(first)
    assert service.changed == {1: first}
    service.remove(first)
    assert service.changed == {}
    service.add(second := make())
    second.stored = True
    service.changed = {}
    service.remove(second)
    assert service.changed == {2: None}


def test_a_contact_is_found_whatever_its_parameters() -> None:
    service = LocationService()
    service.add(binding := make("sip:bob@192.0.2.1:5060;transport=tcp"))
    from rcsops.sip import Uri

    assert service.by_contact(Uri.parse("sip:bob@192.0.2.1")) is binding
    assert service.by_contact(Uri.parse("sip:bob@192.0.2.1:5061")) is None


def test_alarms_of_one_moment_are_told_apart() -> None:
    # The number of a binding that comes from the database may be that of any later alarm.
    for number in range(1, 150):
        service = LocationService()
        current = make()
        current.contact_id = number
        service.restore([current])
        for _ in range(150):
            old, current = current, make()
            service.replace(old, current)
        assert service.expire(100.0) == 1


def test_many_refreshes_do_not_pile_up() -> None:
    service = LocationService()
    service.add(held := make())
    for number in range(1000):
        service.replace(held, held := make(expires=100.0 + number))
    assert len(service._alarms) < 200


@given(
    user=st.sampled_from(["bob", "b%20b", "o'brien"]),
    q=st.sampled_from([-1.0, 0.0, 0.5, 1.0]),
    path=st.lists(st.sampled_from(["sip:192.0.2.1;lr", "sip:[2001:db8::1]:5070;lr"]), max_size=2),
    outbound=st.booleans(),
    remote=st.sampled_from([("192.0.2.3", 5060), ("2001:db8::3", 6000)]),
    seconds=st.integers(1, 10**6),
)
def test_a_row_gives_the_binding_back(
    user: str,
    q: float,
    path: list[str],
    outbound: bool,
    remote: tuple[str, int],
    seconds: int,
) -> None:
    binding = Binding(
        "bob@rcs.example",
        f"sip:{user}@192.0.2.1",
        f'<sip:{user}@192.0.2.1>;reg-id=4;+sip.instance="<urn:x>"',
        expires=float(seconds),
        call_id="a@b",
        cseq=9,
        q=q,
        path=tuple(path),
        flow=Flow("udp", ("127.0.0.1", 5060), remote),
        instance="<urn:x>",
        reg_id=4,
        outbound=outbound,
        user_agent="phone",
    )
    binding.contact_id = 7
    back = binding_of(row_of(binding, 1000.0), -1000.0)
    for name in Binding.__slots__:
        if name not in ("_uri", "stored", "modified"):
            assert getattr(back, name) == getattr(binding, name), name


def test_a_connection_does_not_come_back_from_the_database() -> None:
    binding = make(flow=Flow("tcp", ("127.0.0.1", 5060), ("192.0.2.3", 40000), 5))
    row = row_of(binding, 0.0)
    assert row.received == "sip:192.0.2.3:40000;transport=tcp"
    assert binding_of(row, 0.0).flow is None


def test_rubbish_in_the_extra_column_is_passed_over() -> None:
    row = row_of(make(), 0.0)._replace(kv_store='{"x": 1}')
    assert binding_of(row, 0.0).reg_id == 0
