"""Second hops from nodes to endpoints of other zones."""

import pytest
from advice_world import GIB, ZONES, of_rule, party, service, talk, world

NODE, WEB, CART = party("n1", "Node"), party("shop/web"), party("shop/cart")
EVEN = {(client, server): GIB for client in ZONES for server in ZONES}
TWO = dict.fromkeys(ZONES, 2)


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_what_nodes_send_across_stays_and_pods_bytes_do_not_count(kind: str) -> None:
    flows = talk(NODE, CART, EVEN) + talk(WEB, CART, EVEN)
    cart = service("shop/cart", CART, TWO, type=kind, external_policy="Cluster")
    (one,) = of_rule(world(flows, [cart]), "node-port")
    assert (one.measured_bytes, one.saved_bytes) == (9 * GIB, 6 * GIB)
    assert '"externalTrafficPolicy":"Local"' in one.draft.change.commands[0]
    assert one.draft.verdict == "warning"


def test_it_is_silent_for_cluster_ips_local_policies_and_pods() -> None:
    for kind, policy, client in (
        ("ClusterIP", "", NODE),
        ("NodePort", "Local", NODE),
        ("NodePort", "Cluster", WEB),
    ):
        cart = service("shop/cart", CART, TWO, type=kind, external_policy=policy)
        assert of_rule(world(talk(client, CART, EVEN), [cart]), "node-port") == []
