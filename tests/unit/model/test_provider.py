"""kzn/model/provider.py."""

import pytest

from kzn.model.provider import provider_of, spelled


@pytest.mark.parametrize(
    ("provider_id", "provider"),
    [
        ("aws:///eu-west-1a/i-0123456789abcdef0", "aws"),
        ("gce://my-project/europe-west1-b/gke-n1", "gcp"),
        ("azure:///subscriptions/s/resourceGroups/g/providers/x", "azure"),
        ("kind://docker/kind/kind-worker", "kind"),
        ("hcloud://123", "hetzner"),
        ("oci://ocid1.instance.oc1.phx.abc", "oracle"),
        ("ocid1.instance.oc1.phx.abc", "oracle"),
        ("novel://1", "novel"),
        ("aws", "aws"),
        ("", ""),
    ],
)
def test_the_provider_is_known_by_the_scheme(provider_id: str, provider: str) -> None:
    assert provider_of(provider_id) == provider


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("gce", "gcp"),
        ("GCE", "gcp"),
        ("Aws", "aws"),
        ("gcp", "gcp"),
        ("hcloud", "hetzner"),
        ("aws:///eu-west-1a/i-0", "aws"),
        ("OurMetal", "OurMetal"),
        (" gce ", "gcp"),
        (" OurMetal ", "OurMetal"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_a_provider_in_any_spelling_is_the_name_that_lists_have(text: str, name: str) -> None:
    assert spelled(text) == name
