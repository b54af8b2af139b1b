"""The provider of a node by its ``spec.providerID``: pure."""

NAMES = {
    "aws": "aws",
    "azure": "azure",
    "gce": "gcp",
    "digitalocean": "digitalocean",
    "hcloud": "hetzner",
    "ibm": "ibm",
    "kind": "kind",
    "linode": "linode",
    "oci": "oracle",
    "ocid1": "oracle",
    "openstack": "openstack",
    "vsphere": "vsphere",
}
"""Schemes of providerID as cloud controllers write them, and the providers' names in kzn."""


def provider_of(provider_id: str) -> str:
    """The provider's name: "aws" of ``aws:///eu-west-1a/i-0123``; an unknown scheme itself.

    ``provider_id`` may be the scheme alone. Oracle's ids have no scheme (``ocid1.instance...``).
    Empty when there is none.
    """
    scheme = provider_id.partition(":")[0]
    if scheme.startswith("ocid1."):
        return NAMES["ocid1"]
    return NAMES.get(scheme, scheme)


def spelled(text: str) -> str:
    """A provider as its name in kzn: "gcp" of ``gce`` and of ``GCP``, "aws" of ``aws:///z/i-0``.

    What is neither a name nor a scheme in any spelling is a name of the user's own, without spaces
    at its ends.
    """
    text = text.strip()
    name = provider_of(text.lower())
    return name if name in NAMES.values() else text
