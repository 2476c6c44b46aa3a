"""The judge: what plain readers find must be what was acknowledged, each row once."""


def assert_all_found_once(installation, senders):
    """Stop the server and compare its files with what the senders' receipts say."""
    installation.stop_in_any_state()
    expected = {}
    for sender in senders:
        expected |= sender.acknowledged_keys()
    own = {sender.name for sender in senders}
    rows = installation.read_lake()
    found = [
        (key, value)
        for key, value in zip(
            zip(rows["component"], rows["metric"], rows["measured_at"], strict=True), rows["value"], strict=True
        )
        if key[0] in own
    ]
    assert len(dict(found)) == len(found), "a key is stored twice"
    assert dict(found) == expected
