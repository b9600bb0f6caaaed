import pytest

from rcsops.rcs.features import (
    CPM_FILE_TRANSFER,
    CPM_MESSAGE,
    CPM_SESSION,
    RCS_FILE_TRANSFER_HTTP,
    feature_params,
    feature_text,
    read_features,
    service_headers,
)


def test_tags_as_rfc_3840_wants_them() -> None:
    assert feature_text([CPM_SESSION]) == (
        ';+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"'
    )
    assert feature_params([CPM_SESSION, RCS_FILE_TRANSFER_HTTP, CPM_MESSAGE]) == [
        (
            "+g.3gpp.icsi-ref",
            '"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session,'
            'urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg"',
        ),
        ("+g.3gpp.iari-ref", '"urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp"'),
    ]
    assert feature_text([]) == ""


@pytest.mark.parametrize(
    "value",
    [
        '"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"',
        "urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session",
        '"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"',
        '"<URN:urn-7:3gpp-service.ims.icsi.oma.cpm.session>"',
    ],
)
def test_tags_as_others_write_them(value: str) -> None:
    assert read_features({"+G.3gpp.ICSI-ref": value, "expires": "5"}) == {CPM_SESSION}


def test_several_values_and_repeated_parameters() -> None:
    all_ = {CPM_SESSION, CPM_MESSAGE, CPM_FILE_TRANSFER, RCS_FILE_TRANSFER_HTTP}
    assert read_features(feature_params(all_)) == all_
    split = [
        ("+g.3gpp.icsi-ref", f'"{CPM_SESSION};{CPM_MESSAGE}"'),
        ("+g.3gpp.icsi-ref", f'"{CPM_FILE_TRANSFER}, "'),
        ("+g.3gpp.iari-ref", None),
    ]
    assert read_features(split) == {CPM_SESSION, CPM_MESSAGE, CPM_FILE_TRANSFER}


def test_headers_of_a_service() -> None:
    headers = service_headers(
        CPM_SESSION, conversation_id="conv", contribution_id="contrib", in_reply_to="old"
    )
    assert headers == [
        (
            "Accept-Contact",
            '*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"',
        ),
        ("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"),
        ("Conversation-ID", "conv"),
        ("Contribution-ID", "contrib"),
        ("InReplyTo-Contribution-ID", "old"),
    ]
    assert len(service_headers(CPM_MESSAGE, conversation_id="a", contribution_id="b")) == 4
