from gaugehouse.access.sealing import Seal, derive

SECRET = bytes(range(32))


def test_what_was_closed_opens_with_the_same_secret_and_name_only():
    sealed = Seal(SECRET).close(b"a private key", name="kid")
    assert Seal(SECRET).open(sealed, name="kid") == b"a private key"
    assert Seal(SECRET).open(sealed, name="other") is None
    assert Seal(bytes(32)).open(sealed, name="kid") is None


def test_what_was_changed_does_not_open():
    seal = Seal(SECRET)
    sealed = seal.close(b"a private key", name="kid")
    for changed in (sealed[:-4], "A" + sealed[1:], sealed[:-4] + "AAAA", "", "x", "not base64!", "Förderband"):
        if changed != sealed:
            assert seal.open(changed, name="kid") is None


def test_the_same_text_never_looks_the_same_twice():
    assert Seal(SECRET).close(b"x", name="kid") != Seal(SECRET).close(b"x", name="kid")


def test_installations_have_names_of_their_own_that_tell_nothing_of_the_secret():
    here, elsewhere = Seal(SECRET), Seal(bytes(32))
    assert here.name == Seal(SECRET).name
    assert here.issuer == Seal(SECRET).issuer
    assert len({here.name, elsewhere.name, here.issuer, elsewhere.issuer}) == 4
    assert here.issuer.removeprefix("urn:gaugehouse:") != here.name


def test_each_purpose_gets_bytes_of_its_own():
    assert derive(SECRET, "one") != derive(SECRET, "another")
    assert SECRET not in {derive(SECRET, "one"), derive(SECRET, "another")}
