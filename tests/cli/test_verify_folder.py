"""`audit verify` over anybody's tile log in a folder."""

import pytest

from tests.trust.spec_log import SpecLog, numbered


@pytest.fixture
def log(tmp_path):
    """A log whose checkpoints begin with another name than its key's, as real logs' do."""
    grown = SpecLog(tmp_path / "log")
    grown.grow(numbered(300), history=False)
    grown.put("checkpoint", grown.checkpoint(300, grown.root(), origin="example.com/log/2026"))
    return grown


def test_a_log_whose_origin_is_not_its_keys_name_verifies_under_that_origin(rig, log):
    words = ("audit", "verify", "--log", str(log.folder), "--vkey", log.vkey, "-o", "json")
    refused = rig(*words)
    assert refused.exit == 11
    assert [each["code"] for each in refused.json["findings"]] == ["origin-wrong"]
    good = rig(*words, "--origin", "example.com/log/2026")
    assert good.exit == 0
    assert (good.json["good"], good.json["origin"]) == (True, "example.com/log/2026")
    assert rig(*words, "--origin", "example.com/log/2025").exit == 11


def test_an_origin_alone_is_a_usage_error(rig, log):
    for words in (("--origin", "x"), ("--origin", "x", "--log", str(log.folder))):
        refused = rig("audit", "verify", *words)
        assert refused.exit == 2
        assert "--vkey" in refused.err
