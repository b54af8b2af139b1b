"""Tests mirror rooms: `kzn/a/b.py` has `tests/unit/a/test_b.py`, or is in the list below.

The list names the tests of such a module, or states that it only has values.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VALUES = "values and constants alone"
GENERATED = {"kzn/wire/kzn_pb2.py", "kzn/libbpf/_libbpf.py"}
ELSEWHERE = {
    "kzn/advisor/declaration.py": VALUES,
    "kzn/advisor/facts.py": VALUES,
    "kzn/advisor/proposal.py": VALUES,
    "kzn/advisor/registry.py": "tests/unit/advisor/rules/test_shipped.py",
    "kzn/advisor/rules/services/zone_draft.py": (
        "tests/unit/advisor/rules/services/test_same_zone.py"
    ),
    "kzn/advisor/service_change.py": "tests/unit/advisor/rules/services/test_same_zone.py",
    "kzn/advisor/world.py": "tests/unit/advisor/test_gather.py",
    "kzn/agent/app.py": "tests/kernel/test_agent.py",
    "kzn/agent/config.py": VALUES,
    "kzn/agent/deliver/connection.py": "tests/unit/agent/deliver/test_shipper.py",
    "kzn/agent/devices/device_watch.py": "tests/kernel/test_uplinks.py",
    "kzn/agent/devices/netlink.py": "tests/kernel/test_uplinks.py",
    "kzn/agent/devices/netlink_messages.py": "tests/kernel/test_uplinks.py",
    "kzn/agent/devices/tc_filters.py": "tests/kernel/test_clsact.py",
    "kzn/agent/doctor/attached.py": "tests/kernel/test_doctor.py",
    "kzn/agent/doctor/bypass.py": "tests/unit/agent/doctor/test_network.py",
    "kzn/agent/doctor/devices.py": "tests/kernel/test_doctor.py",
    "kzn/agent/doctor/examine.py": "tests/unit/cli/test_doctor.py",
    "kzn/agent/doctor/finding.py": VALUES,
    "kzn/agent/hooks.py": "tests/kernel/test_lost_hooks.py",
    "kzn/agent/inspect/per_cpu.py": "tests/kernel/test_inspect.py",
    "kzn/agent/inspect/snapshot.py": "tests/kernel/test_inspect.py",
    "kzn/agent/maps/buffers.py": "tests/kernel/test_postrouting.py",
    "kzn/agent/maps/mapset.py": "tests/kernel/test_uplinks.py",
    "kzn/agent/pins/attachments.py": "tests/kernel/test_clsact.py",
    "kzn/agent/pins/liveness.py": "tests/kernel/test_lost_hooks.py",
    "kzn/agent/select/attach.py": "tests/kernel/test_auto.py",
    "kzn/agent/select/preview.py": "tests/kernel/test_auto.py",
    "kzn/agent/select/takeover.py": "tests/kernel/test_takeover.py",
    "kzn/agent/select/trial.py": "tests/kernel/test_auto.py",
    "kzn/cli/agent.py": "tests/unit/cli/test_commands.py",
    "kzn/cli/detach.py": "tests/kernel/test_install.py",
    "kzn/cli/inspect_map.py": "tests/kernel/test_inspect.py",
    "kzn/cli/probes.py": "tests/unit/cli/test_main.py",
    "kzn/cli/server.py": "tests/unit/server/test_command.py",
    "kzn/cli/open.py": "tests/unit/client/test_relay.py",
    "kzn/cli/output/stdout.py": "tests/unit/cli/test_commands.py",
    "kzn/cli/top.py": "tests/unit/top/test_live.py",
    "kzn/columns/arrays.py": VALUES,
    "kzn/columns/key_layout.py": "tests/unit/server/ledger/test_ledger.py",
    "kzn/history/writing/encode.py": "tests/unit/history/writing/test_merging.py",
    "kzn/daemon/descriptors.py": "tests/unit/daemon/test_accept.py",
    "kzn/daemon/http/stats.py": "tests/unit/server/metrics/test_render.py",
    "kzn/daemon/metrics.py": "tests/unit/server/metrics/test_render.py",
    "kzn/daemon/stop_flag.py": "tests/unit/daemon/test_signals.py",
    "kzn/daemon/prometheus.py": "tests/unit/agent/test_metrics.py",
    "kzn/daemon/tls_stream.py": "tests/unit/daemon/test_tls.py",
    "kzn/demo/cost.py": "tests/unit/demo/test_report.py",
    "kzn/demo/flow_log.py": "tests/kernel/test_demo.py",
    "kzn/demo/relay.py": "tests/kernel/test_demo.py",
    "kzn/demo/run.py": "tests/kernel/test_demo.py",
    "kzn/demo/view.py": "tests/unit/demo/test_report.py",
    "kzn/cli/history/asking.py": "tests/unit/cli/history/test_flows.py",
    "kzn/cli/history/diff.py": "tests/unit/cli/history/test_report.py",
    "kzn/client/past_traffic.py": "tests/unit/reports/comparison/test_diff.py",
    "kzn/errors.py": VALUES,
    "kzn/history/processes/csv_child.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/history/upkeep/tasks.py": "tests/unit/history/upkeep/test_catalog.py",
    "kzn/history/columns.py": "tests/unit/history/test_writer.py",
    "kzn/history/processes/reader_child.py": "tests/unit/history/processes/test_reader_process.py",
    "kzn/history/processes/export_child.py": "tests/unit/history/processes/test_export_process.py",
    "kzn/history/export_query.py": "tests/unit/history/test_export.py",
    "kzn/history/sql.py": "tests/unit/history/test_reader.py",
    "kzn/history/processes/writer_child.py": "tests/unit/history/processes/test_writer_process.py",
    "kzn/lab/daemons.py": "tests/kernel/test_agent.py",
    "kzn/lab/jobs.py": "tests/kernel/test_state.py",
    "kzn/lab/lab.py": "tests/kernel/test_lab.py",
    "kzn/lab/namespaces.py": "tests/kernel/test_lab.py",
    "kzn/lab/topology.py": "tests/kernel/test_demo.py",
    "kzn/lab/witness.py": "tests/kernel/test_lab.py",
    "kzn/libbpf/btf.py": "tests/unit/probes/test_floors.py",
    "kzn/libbpf/build.py": "scripts/generated",
    "kzn/libbpf/links.py": "tests/kernel/test_install.py",
    "kzn/libbpf/map_batch.py": "tests/kernel/test_postrouting.py",
    "kzn/libbpf/maps.py": "tests/kernel/test_uplinks.py",
    "kzn/libbpf/messages.py": "tests/kernel/test_wrong_objects.py",
    "kzn/libbpf/object_layout.py": "tests/unit/probes/test_layout.py",
    "kzn/libbpf/pins.py": "tests/kernel/test_install.py",
    "kzn/libbpf/testrun.py": "tests/kernel/test_parsing.py",
    "kzn/model/batch.py": VALUES,
    "kzn/model/endpoint.py": VALUES,
    "kzn/model/flows.py": VALUES,
    "kzn/model/settled.py": "tests/unit/history/test_books.py",
    "kzn/model/totals.py": "tests/unit/agent/maps/test_structs.py",
    "kzn/client/rollouts.py": "tests/unit/server/http/test_rollouts.py",
    "kzn/client/prices.py": "tests/unit/pricing/test_table.py",
    "kzn/pricing/aws.py": "tests/unit/pricing/test_shipped.py",
    "kzn/pricing/azure.py": "tests/unit/pricing/test_shipped.py",
    "kzn/pricing/declaration.py": "tests/unit/pricing/test_registry.py",
    "kzn/pricing/gcp.py": "tests/unit/pricing/test_shipped.py",
    "kzn/pricing/offers/imported.py": "tests/unit/pricing/offers/test_aws.py",
    "kzn/pricing/text.py": "tests/unit/pricing/test_file.py",
    "kzn/pricing/traffic.py": "tests/unit/pricing/test_book.py",
    "kzn/probes/attach.py": "tests/kernel/test_postrouting.py",
    "kzn/server/sinks.py": VALUES,
    "kzn/server/changes.py": "tests/unit/server/test_pipeline.py",
    "kzn/pricing/checked.py": "tests/unit/pricing/test_registry.py",
    "kzn/reports/amounts.py": "tests/unit/reports/test_report.py",
    "kzn/reports/budget.py": "tests/unit/server/test_budgets.py",
    "kzn/reports/comparison/diff_text.py": "tests/unit/reports/comparison/test_diff.py",
    "kzn/reports/csv_cells.py": "tests/unit/reports/test_report.py",
    "kzn/reports/document.py": "tests/unit/reports/test_report.py",
    "kzn/reports/forecast.py": "tests/unit/reports/test_report.py",
    "kzn/reports/html.py": "tests/unit/reports/test_report.py",
    "kzn/reports/numbers.py": "tests/unit/reports/test_report.py",
    "kzn/reports/table.py": "tests/unit/reports/test_report.py",
    "kzn/server/auth/authenticator.py": "tests/unit/server/auth/test_secure.py",
    "kzn/server/auth/permit.py": "tests/unit/server/auth/test_secure.py",
    "kzn/server/config.py": VALUES,
    "kzn/server/cost/items.py": "tests/unit/server/cost/test_meter.py",
    "kzn/server/cost/route_prices.py": "tests/unit/server/cost/test_meter.py",
    "kzn/server/flows/lines.py": "tests/unit/server/flows/test_queue.py",
    "kzn/server/flows/records.py": "tests/unit/server/flows/test_queue.py",
    "kzn/server/ledger/family.py": "tests/unit/server/ledger/test_ledger.py",
    "kzn/server/ledger/limits.py": "tests/unit/server/ledger/test_ledger.py",
    "kzn/server/ledger/places.py": "tests/unit/server/cost/test_meter.py",
    "kzn/server/ledger/prices_in_use.py": VALUES,
    "kzn/server/ledger/postings.py": "tests/unit/server/ledger/test_ledger.py",
    "kzn/server/metrics/advice.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/metrics/opencost.py": "tests/unit/server/cost/test_opencost.py",
    "kzn/server/metrics/prices.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/http/budgets.py": "tests/unit/server/test_budgets.py",
    "kzn/server/metrics/budgets.py": "tests/unit/server/test_budgets.py",
    "kzn/server/metrics/history.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/metrics/server.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/metrics/traffic.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/receive/connection.py": "tests/unit/server/receive/test_receiver.py",
    "kzn/server/receive/context.py": VALUES,
    "kzn/server/receive/frame_memory.py": "tests/unit/server/receive/test_hostile.py",
    "kzn/server/receive/limits.py": VALUES,
    "kzn/server/receive/stats.py": VALUES,
    "kzn/server/recording/rest.py": "tests/unit/server/recording/test_ring.py",
    "kzn/server/recording/spooling.py": "tests/unit/server/test_history_live.py",
    "kzn/server/recording/words.py": "tests/unit/server/recording/test_fold.py",
    "kzn/server/resolve/resolution.py": "tests/unit/server/resolve/test_joined.py",
    "kzn/server/resolve/rules.py": "tests/unit/server/resolve/test_resolve.py",
    "kzn/server/resolve/verdict.py": VALUES,
    "kzn/server/settled_totals.py": "tests/unit/server/recording/test_recorder.py",
    "kzn/server/snapshot.py": "tests/unit/server/metrics/test_render.py",
    "kzn/server/state/checkpoint.py": "tests/unit/server/state/test_sqlite_store.py",
    "kzn/server/state/durability.py": "tests/unit/delivery/test_schedules.py",
    "kzn/server/state/file_check.py": "tests/unit/server/state/test_sqlite_store.py",
    "kzn/server/state/schema.py": "tests/unit/server/state/test_sqlite_store.py",
    "kzn/server/stats.py": "tests/unit/server/metrics/test_render.py",
    "kzn/sinks/clickhouse/client.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/sinks/clickhouse/schema.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/sinks/clickhouse/sink.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/sinks/clickhouse/sql.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/sinks/clickhouse/store.py": "tests/unit/sinks/clickhouse/test_engines.py",
    "kzn/sinks/declaration.py": "tests/unit/sinks/test_deliver.py",
    "kzn/sinks/registry.py": "tests/unit/sinks/test_target.py",
    "kzn/top/document.py": "tests/unit/top/test_live.py",
    "kzn/top/text.py": "tests/unit/top/test_screen.py",
    "kzn/topology/describe.py": "tests/unit/topology/test_index.py",
    "kzn/topology/facts.py": VALUES,
    "kzn/topology/kube/client.py": "tests/unit/topology/kube/test_source.py",
    "kzn/topology/kube/decode.py": "tests/unit/topology/kube/test_api_objects.py",
    "kzn/topology/kube/errors.py": "tests/unit/topology/kube/test_list_watch.py",
    "kzn/topology/kube/resources.py": VALUES,
    "kzn/topology/kube/watch.py": "tests/unit/topology/kube/test_source.py",
    "kzn/topology/ownership/claims.py": "tests/unit/topology/test_index.py",
    "kzn/topology/records.py": "tests/unit/topology/test_index.py",
    "kzn/topology/source.py": VALUES,
    "kzn/wire/encode_batch.py": "tests/unit/wire/test_decode_batch.py",
    "kzn/wire/limits.py": VALUES,
    "kzn/wire/messages.py": VALUES,
    "kzn/yaml_files.py": "tests/unit/topology/static/test_file.py",
    "kzn/topology/kube/routing/resources.py": "tests/unit/topology/kube/routing/test_following.py",
    "kzn/topology/kube/routing/service.py": "tests/unit/topology/kube/routing/test_objects.py",
    "kzn/topology/routing_facts.py": VALUES,
}


def modules() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "kzn"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [
        name
        for name in listed
        if name.endswith(".py") and not name.endswith("/__init__.py") and name not in GENERATED
    ]


def own_test(module: str) -> Path:
    path = Path(module)
    return ROOT.joinpath("tests", "unit", *path.parts[1:-1], f"test_{path.name}")


@pytest.mark.parametrize("module", modules())
def test_a_module_has_a_test_of_its_name_or_is_in_the_list(module: str) -> None:
    assert own_test(module).exists() != (module in ELSEWHERE)


@pytest.mark.parametrize(("module", "where"), ELSEWHERE.items())
def test_what_the_list_names_exists(module: str, where: str) -> None:
    assert (ROOT / module).exists()
    assert where == VALUES or (ROOT / where).exists()


def test_a_room_holds_no_more_than_a_dozen_files_or_so() -> None:
    sizes: dict[str, int] = {}
    for module in modules():
        folder = str(Path(module).parent)
        sizes[folder] = sizes.get(folder, 0) + 1
    assert {folder: size for folder, size in sizes.items() if size > 14} == {}


def test_every_room_has_a_docstring_of_what_it_owns() -> None:
    rooms = {str(Path(module).parent) for module in modules()}
    silent = [room for room in rooms if len((ROOT / room / "__init__.py").read_text()) < 100]
    assert silent == []
