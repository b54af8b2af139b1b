"""Routing followed from a fake API server, with and without rights."""

from fake_api import FakeApi, Object
from source_session import cluster_of_two, ready, run, running

from kzn.topology.kube.routing.following import CILIUM_PATH
from kzn.topology.rollouts import Rollouts, between
from kzn.topology.routing import Routing

META: Object = {"name": "cart", "namespace": "shop", "uid": "e1"}
SLICE: Object = {
    "metadata": META | {"labels": {"kubernetes.io/service-name": "cart"}},
    "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "n1", "zone": "a"}],
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
}


def cluster() -> FakeApi:
    api = cluster_of_two()
    api.put("services", {"metadata": META | {"uid": "s1"}, "spec": {"clusterIP": "10.9.0.1"}})
    api.put("endpointslices", SLICE | {"metadata": dict(SLICE["metadata"])})
    api.put("daemonsets", {"metadata": {"name": "kube-proxy", "uid": "d1", "namespace": "x"}})
    return api


def test_services_slices_controllers_and_versions_are_followed() -> None:
    async def test() -> None:
        api = cluster()
        api.objects_by_path[CILIUM_PATH] = {
            "data": {"enable-service-topology": "true", "secret": "not read"}
        }
        async with running(api) as session:
            await ready(session)
            routing = session.source.routing
            await session.until(lambda: not routing.missing and routing.cilium)
            view = routing.view()
            assert [one.name for one in view.services] == ["cart"]
            assert [len(one) for one in view.slices] == [1]
            assert [one.name for one in view.controllers] == ["kube-proxy"]
            assert view.api_version == "v1.34.2"
            assert view.cilium == {"enable-service-topology": "true"}
            api.delete("endpointslices", "e1")
            api.delete("services", "s1")
            await session.until(lambda: not routing.view().slices and not routing.view().services)

    run(test())


def test_without_rights_the_rest_is_ready_and_what_is_missing_is_named() -> None:
    async def test() -> None:
        api = cluster()
        api.forbidden |= {"endpointslices", "persistentvolumes"}
        api.objects_by_path.clear()
        async with running(api) as session:
            await ready(session)
            routing = session.source.routing
            await session.until(lambda: len(routing.missing) == 3)
            assert routing.missing == {
                "endpointslices": "the API server refuses to list them (forbidden)",
                "persistentvolumes": "the API server refuses to list them (forbidden)",
                "version": "refused",
            }
            assert routing.view().cilium is None
            # The right is granted later.
            api.forbidden.clear()
            await session.until(lambda: "endpointslices" not in routing.missing)
            assert [len(one) for one in routing.view().slices] == [1]

    run(test())


def deployment(image: str, replicas: int) -> Object:
    return {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "dep1",
            "creationTimestamp": "2023-01-01T00:00:00Z",
        },
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"containers": [{"name": "app", "image": image}]}},
        },
    }


def test_what_is_rolled_out_is_logged_from_the_watches_and_from_creations_of_before() -> None:
    async def test() -> None:
        api = cluster()
        meta = api.objects["replicasets"]["rs1"]["metadata"]
        meta |= {"namespace": "shop", "creationTimestamp": "2023-11-14T22:13:19Z"}
        api.put("deployments", deployment("web:1", 2))
        log = Rollouts(lambda: 1.7e9)

        def told() -> list[str]:
            found = between(log.all(), 0, 2e9)
            return [f"{one.what} {one.name} {one.before}>{one.after}" for one in found]

        async with running(api, routing=Routing(rollouts=log)) as session:
            await ready(session)
            routing = session.source.routing
            await session.until(lambda: "deployments" not in routing.missing)
            assert told() == ["replicaset web >web-5d8f"]
            api.put("deployments", deployment("web:2", 5))
            await session.until(lambda: len(log) == 3)
            assert told()[:2] == ["images web web:1>web:2", "replicas web 2>5"]
            # The right to read them is taken away: they were not deleted.
            api.forbidden.add("deployments")
            api.expire_watches()
            await session.until(lambda: "deployments" in routing.missing)
            assert len(log) == 3
            api.forbidden.clear()
            await session.until(lambda: "deployments" not in routing.missing)
            api.delete("deployments", "dep1")
            await session.until(lambda: len(log) == 4)
            assert told()[0] == "deleted web >"

    run(test())
