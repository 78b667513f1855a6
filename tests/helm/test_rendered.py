"""The rendered objects hold together: selectors, ports, references, arguments, time to end."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ingress.cli import main
from ingress.cli.flags import options_from
from ingress.options import Options
from ingress.report.webhook_certificate import LABEL, MANAGED
from ingress.watch.reading import decode_text
from tests.helm.rendering import NAMESPACE, Refused, objects, pod_specs, render, render_values, value_sets
from tests.support.tools import tool

CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "IngressClass",
    "IngressClassParameters",
    "ValidatingWebhookConfiguration",
}
KILL_MARGIN = 5
"""Seconds that the controller's processes take to report and end after the drain, at most."""


@pytest.fixture(autouse=True)
def _helm() -> None:
    tool("helm")


@pytest.fixture(params=value_sets(), ids=lambda path: path.stem)
def manifests(request: pytest.FixtureRequest) -> str:
    """What each set of values gives."""
    path: Path = request.param
    return render(path)


def _args(manifests: str) -> list[str]:
    return [
        argument
        for _, template in pod_specs(manifests)
        for container in template["spec"]["containers"]
        if container["name"] == "controller"
        for argument in container["args"]
    ]


def _parse(args: list[str]) -> Options:
    """As the real command line does."""
    assert args[0] == "run"
    context = main.commands["run"].make_context("run", args[1:])
    return options_from(context.params)


def test_every_document_is_read_by_our_own_rules(manifests: str) -> None:
    """Our parser, which refuses keys that stand twice, and our readers of classes and of our own kinds are content."""
    content = decode_text(manifests, "rendered.yaml")
    assert [problem.message for problem in content.problems] == []
    assert {each.ref.kind for each in content.objects} >= {"IngressClass"}


def test_no_object_stands_twice_and_each_is_where_it_belongs(manifests: str) -> None:
    """Kind, namespace and name are one object's; what is of the cluster has no namespace, what is not has one."""
    found = objects(manifests)
    counted = Counter((each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in found)
    assert [key for key, count in counted.items() if count > 1] == []
    for kind, namespace, name in counted:
        assert (namespace is None) == (kind in CLUSTER_WIDE) or kind == "ConfigMap", (kind, name)
        assert len(name) <= 63


def test_selectors_find_exactly_their_pods(manifests: str) -> None:
    """Each selector of a Service, budget, policy or spread picks the pods of one workload, and no other's."""
    pods = {name: template["metadata"]["labels"] for name, template in pod_specs(manifests)}
    for each in objects(manifests):
        for selector in _selectors(each):
            picked = [name for name, labels in pods.items() if selector.items() <= labels.items()]
            assert len(picked) == 1, (each["kind"], each["metadata"]["name"], selector)


def _selectors(each: dict[str, Any]) -> list[dict[str, str]]:
    spec = each.get("spec", {})
    match each["kind"]:
        case "Service":
            return [spec["selector"]]
        case "Deployment" | "DaemonSet":
            spreads = spec["template"]["spec"].get("topologySpreadConstraints", [])
            return [spec["selector"]["matchLabels"], *(spread["labelSelector"]["matchLabels"] for spread in spreads)]
        case "PodDisruptionBudget" | "PodMonitor":
            return [spec["selector"]["matchLabels"]]
        case "NetworkPolicy":
            return [spec["podSelector"]["matchLabels"]]
    return []


def test_a_service_monitor_finds_the_metrics_service_alone(manifests: str) -> None:
    """The other Services carry the same labels and have no metrics."""
    services = objects(manifests, "Service")
    for monitor in objects(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [each for each in services if wanted.items() <= each["metadata"]["labels"].items()]
        assert [each["metadata"]["name"] for each in found] == ["pyngress-metrics"]
        assert [port["name"] for port in found[0]["spec"]["ports"]] == [monitor["spec"]["endpoints"][0]["port"]]


def test_ports_are_those_of_the_pods(manifests: str) -> None:
    """Every port that a Service, a probe, a policy or a monitor names is one of the pods, and pods name none twice."""
    pods = {name: _ports(template) for name, template in pod_specs(manifests)}
    for ports in pods.values():
        assert len(set(ports.values())) == len(ports)
    named = set(itertools.chain.from_iterable(pods.values()))
    for service in objects(manifests, "Service"):
        assert service["spec"]["ports"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for name, template in pod_specs(manifests):
        for container in template["spec"]["containers"]:
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                if probe in container:
                    assert container[probe]["httpGet"]["port"] in pods[name]
    for policy in objects(manifests, "NetworkPolicy"):
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= named


def _ports(template: dict[str, Any]) -> dict[str, int]:
    containers = template["spec"]["containers"]
    return {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}


def test_references_lead_somewhere(manifests: str) -> None:
    """Accounts, roles, scale targets, the webhook's Service and the class's parameters exist under their names."""
    names = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects(manifests)}
    for _, template in pod_specs(manifests):
        account = template["spec"].get("serviceAccountName")
        assert account is None or ("ServiceAccount", NAMESPACE, account) in names
    for binding in objects(manifests, "RoleBinding", "ClusterRoleBinding"):
        role = binding["roleRef"]
        assert (role["kind"], binding["metadata"].get("namespace"), role["name"]) in names
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["namespace"], subject["name"]) in names
    for scaler in objects(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], NAMESPACE, target["name"]) in names
    for configuration in objects(manifests, "ValidatingWebhookConfiguration"):
        for webhook in configuration["webhooks"]:
            service = webhook["clientConfig"]["service"]
            assert ("Service", service["namespace"], service["name"]) in names
    for each in objects(manifests, "IngressClass"):
        parameters = each["spec"].get("parameters")
        assert parameters is None or (parameters["kind"], None, parameters["name"]) in names


def test_the_command_line_takes_the_arguments(manifests: str) -> None:
    """`pyngress run` parses what the pod is given, and it means what the other objects say."""
    options = _parse(_args(manifests))
    ports = next(_ports(template) for name, template in pod_specs(manifests) if "default-backend" not in name)
    told = {"http": options.http_port, "https": options.https_port, "metrics": options.admin_port}
    if options.webhook_port:
        told["webhook"] = options.webhook_port
    assert ports == told
    classes = objects(manifests, "IngressClass")
    assert {each["spec"]["controller"] for each in classes} == {options.controller_name}
    assert options.ingress_class in {each["metadata"]["name"] for each in classes}
    assert not options.manifests
    webhooks = objects(manifests, "ValidatingWebhookConfiguration")
    assert [each["metadata"]["name"] for each in webhooks] == [options.webhook_name] * bool(options.webhook_port)
    if options.publish_service is not None:
        services = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in objects(manifests, "Service")}
        assert options.publish_service in services


def test_extra_arguments_become_flags() -> None:
    """Switches, large numbers, texts and lists all arrive as they were meant."""
    extra = {"merge-slashes": False, "allow-underscores": True, "max-connections": 1_000_000, "read-timeout": "2m"}
    values = {"controller": {"extraArgs": {**extra, "bind": ["127.0.0.1", "::1"], "body-timeout": 2.5}}}
    options = _parse(_args(render_values(values)))
    settings = options.settings
    assert (settings.merge_slashes, settings.allow_underscores, settings.max_connections) == (False, True, 1_000_000)
    assert (settings.read_timeout, settings.body_timeout, options.bind) == (120, 2.5, ("127.0.0.1", "::1"))


@pytest.mark.parametrize(
    ("delay", "drain"), [(0, 0), (0.5, 0.001), (0.5, 0.5), (10, 30), (59.01, 299.999), (0, 3600.5), (86400, 86400)]
)
def test_pods_are_not_killed_before_they_are_drained(delay: float, drain: float) -> None:
    """The kubelet's patience exceeds delay and drain for odd values, too, and is a whole number."""
    text = render_values({"controller": {"shutdownDelay": delay, "drainTimeout": drain}})
    _, template = next(iter(pod_specs(text)))
    options = _parse(_args(text))
    grace = template["spec"]["terminationGracePeriodSeconds"]
    assert (options.shutdown_delay, options.drain_timeout) == (delay, drain)
    assert isinstance(grace, int)
    assert delay + drain + KILL_MARGIN <= grace <= max(delay + drain + 12, 40)


def test_a_grace_period_of_ones_own_is_kept_if_it_is_enough() -> None:
    """45 seconds are enough for 10 and 30, 44 are not."""
    _, template = next(iter(pod_specs(render_values({"controller": {"terminationGracePeriodSeconds": 45}}))))
    assert template["spec"]["terminationGracePeriodSeconds"] == 45
    with pytest.raises(Refused):
        render_values({"controller": {"terminationGracePeriodSeconds": 44}})


def test_pods_run_with_the_least(manifests: str) -> None:
    """Not root, nothing but NET_BIND_SERVICE, no writable root, seccomp; and no host's kernel settings are touched."""
    for name, template in pod_specs(manifests):
        pod, container = template["spec"], template["spec"]["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"]["drop"] == ["ALL"]
        assert rights["capabilities"].get("add", []) == ([] if "default-backend" in name else ["NET_BIND_SERVICE"])


@pytest.mark.parametrize(
    ("values", "sysctl", "command"),
    [
        ({}, True, False),
        ({"containerPort": {"http": 8080, "https": 8444}}, False, False),
        ({"unprivilegedPorts": False}, False, False),
        ({"hostNetwork": True}, False, True),
        ({"hostNetwork": True, "containerPort": {"http": 8080, "https": 8444}}, False, False),
    ],
    ids=["as it comes", "high ports", "left to the runtime", "host network", "host network, high ports"],
)
def test_low_ports_are_opened_by_the_means_that_works(values: dict[str, Any], sysctl: bool, command: bool) -> None:
    """A sysctl in the pod's own network; on the host's, where that is refused, an interpreter with a capability."""
    _, template = next(iter(pod_specs(render_values({"controller": values}))))
    pod = template["spec"]
    names = [each["name"] for each in pod["securityContext"].get("sysctls", [])]
    assert names == ["net.ipv4.ip_unprivileged_port_start"] * sysctl
    assert ("command" in pod["containers"][0]) == command


@pytest.mark.parametrize(
    ("values", "budgets"),
    [
        ({}, 0),
        ({"replicaCount": 2}, 1),
        ({"autoscaling": {"enabled": True}}, 1),
        ({"autoscaling": {"enabled": True, "minReplicas": 1}, "replicaCount": 3}, 0),
        ({"kind": "DaemonSet", "replicaCount": 3}, 0),
    ],
)
def test_there_is_a_disruption_budget_only_with_more_than_one_replica(values: dict[str, Any], budgets: int) -> None:
    """A budget of one for one pod would stop every node from being drained."""
    assert len(objects(render_values({"controller": values}), "PodDisruptionBudget")) == budgets


def test_replicas_are_left_to_the_autoscaler() -> None:
    """An upgrade would else set them back."""
    (plain,) = objects(render_values({}), "Deployment")
    (scaled,) = objects(render_values({"controller": {"autoscaling": {"enabled": True}}}), "Deployment")
    assert plain["spec"]["replicas"] == 1
    assert "replicas" not in scaled["spec"]


def test_the_webhooks_secret_is_the_controllers_to_fill() -> None:
    """It is under the name and with the label by which the controller takes it for its own, and empty."""
    text = render_values({})
    (secret,) = objects(text, "Secret")
    assert secret["metadata"]["name"] == f"{_parse(_args(text)).webhook_name}-webhook"
    assert secret["metadata"]["labels"][LABEL] == MANAGED
    assert "data" not in secret


def test_two_releases_share_no_name() -> None:
    """Long release names are cut, and every suffix still fits."""
    names = {each["metadata"]["name"] for each in objects(render_values({"fullnameOverride": "x" * 63}))}
    assert max(map(len, names)) <= 63
    assert all(re.fullmatch(r"x{40}[-a-z]*|pyngress", name) for name in names)
