"""The strict cloud: moto's state with AWS's manners, as far as the provider depends on them.

What moto lets pass and this refuses or delays: a second group, load balancer or listener, client tokens, groups that
launch from a template that is gone or an image that is not there, suspended registering of new instances, instances
that take a while to start, targets that take a while to become healthy, to drain and to go, groups that take a while to
be deleted, late news of groups when asked for, and limits of tags.
What neither shows: real instances, availability zones, quotas, permissions, and how late AWS really tells of things.
"""

import hashlib
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from delivery.providers.aws_proxy import Call, Moto, Parameters, Proxy, Refusal, numbered

GOOD, SICK, UNLAUNCHABLE = "ami-0a0a0a01", "ami-0a0a0a02", "ami-0a0a0a03"
IMAGES = {GOOD, SICK, UNLAUNCHABLE}
TAGS_MAX, TAG_VALUE_MAX = 50, 256
LAUNCHED_FIRST_S = 1_700_000_000
ADD = "AddToLoadBalancer"


@dataclass
class Group:
    """What moto does not know of a group."""

    name: str
    image: str
    target_groups: list[str]
    seen: dict[str, float] = field(default_factory=dict)
    """When each instance is in service."""
    deleted_at: float = 0.0
    ordered: tuple[str, str] | None = None
    """Minimum and desired count of a group whose instances cannot be launched."""


@dataclass
class Timing:
    """How long things take, in seconds."""

    start: float = 0.0
    healthy: float = 0.03
    drain: float = 0.03
    delete: float = 0.03
    told: float = 0.0
    """How late it is told what became of the groups."""


class StrictCloud:
    """One account in one region."""

    def __init__(self, moto: Moto) -> None:
        self.timing = Timing()
        self.page: str = ""
        """How many groups a page holds, where not as many as were asked for."""
        self.created: list[str] = []
        """Every group that was made, in order."""
        self.terminated: list[str] = []
        self.made: list[str] = []
        """Every load balancer and security group that was made, in order."""
        self.divided: list[tuple[int, ...]] = []
        """Every division of requests among target groups that a listener was given, in order."""
        self._moto = moto
        self._groups: dict[str, Group] = {}
        self._targets: dict[str, dict[str, tuple[float, float]]] = {}
        """By target group, then instance: when it was registered and when it was taken away, or 0."""
        self._launched: dict[str, tuple[int, str]] = {}
        """By instance: its number and its image."""
        self._behind: dict[str, str] = {}
        """By target group: the load balancer that it came behind when a listener was changed, which moto forgets."""
        self._client_tokens: dict[str, tuple[str, bytes]] = {}
        self._past: list[tuple[float, bytes]] = []
        """What would have been told of all groups, and since when."""
        self.proxy = Proxy(self.serve)
        self.subnet, self.network = self._network()
        self.subnets = sorted(_all(self._ask("ec2", "DescribeSubnets"), "subnetId"))[:2]

    def target_group(self, name: str) -> str:
        """Make a target group behind a listener of a load balancer; return its ARN."""
        arn = self._target_group(name)
        subnets = {"Subnets.member.1": self.subnet}
        balancer = self._ask("elasticloadbalancing", "CreateLoadBalancer", Name=f"lb-{name}", Type="network", **subnets)
        self._ask(
            "elasticloadbalancing",
            "CreateListener",
            LoadBalancerArn=_text(balancer, "LoadBalancerArn"),
            Protocol="TCP",
            Port="80",
            **{"DefaultActions.member.1.Type": "forward", "DefaultActions.member.1.TargetGroupArn": arn},
        )
        return arn

    def beside(self, first: str, second: str) -> str:
        """Make a target group that the listener of another one forwards to as well, with weight 0; return its ARN."""
        arn = self._target_group(second)
        with self.proxy.held():
            found = self._ask("elasticloadbalancing", "DescribeTargetGroups", **{"Names.member.1": first})
            there = _text(found, "TargetGroupArn")
            balancer = _text(_find(found, "LoadBalancerArns")[0], "member")
            listeners = self._ask("elasticloadbalancing", "DescribeListeners", LoadBalancerArn=balancer)
            forward = {"DefaultActions.member.1.Type": "forward"}
            for number, (one, weight) in enumerate(((there, "100"), (arn, "0")), 1):
                member = f"DefaultActions.member.1.ForwardConfig.TargetGroups.member.{number}"
                forward |= {f"{member}.TargetGroupArn": one, f"{member}.Weight": weight}
            listener = _text(listeners, "ListenerArn")
            self._ask("elasticloadbalancing", "ModifyListener", ListenerArn=listener, **forward)
            self._behind[arn] = balancer
        return arn

    def weights(self) -> dict[str, int]:
        """Return how listeners divide requests among target groups that share one, by name."""
        with self.proxy.held():
            found = {}
            for balancer in _all(self._ask("elasticloadbalancing", "DescribeLoadBalancers"), "LoadBalancerArn"):
                listeners = self._ask("elasticloadbalancing", "DescribeListeners", LoadBalancerArn=balancer)
                for group in (one for many in _find(listeners, "TargetGroups") for one in many):
                    found[_text(group, "TargetGroupArn").split("/")[1]] = int(_text(group, "Weight"))
            return found

    def _target_group(self, name: str) -> str:
        asked = {"Name": name, "Protocol": "HTTP", "Port": "80", "VpcId": self.network, "TargetType": "instance"}
        return _text(self._ask("elasticloadbalancing", "CreateTargetGroup", **asked), "TargetGroupArn")

    def remove_target_group(self, arn: str) -> None:
        """Remove a target group, with the load balancer that sends to it."""
        with self.proxy.held():
            asked = {"TargetGroupArns.member.1": arn}
            found = self._ask("elasticloadbalancing", "DescribeTargetGroups", **asked)
            for balancer in (one for many in _find(found, "LoadBalancerArns") for one in many):
                self._ask("elasticloadbalancing", "DeleteLoadBalancer", LoadBalancerArn=str(balancer.text))
            self._ask("elasticloadbalancing", "DeleteTargetGroup", TargetGroupArn=arn)
            self._targets.pop(arn, None)

    def running(self, name: str) -> int:
        """Count a group's running instances in moto itself."""
        with self.proxy.held():
            filters = {"Filter.1.Name": "tag:aws:autoscaling:groupName", "Filter.1.Value.1": name}
            running = {"Filter.2.Name": "instance-state-name", "Filter.2.Value.1": "running"}
            return len(_all(self._ask("ec2", "DescribeInstances", **filters, **running), "instanceId"))

    def registered(self, arn: str) -> set[str]:
        """Return the instances that a target group gives new requests to."""
        return {one for one, (_, taken_at) in self._targets.get(arn, {}).items() if not taken_at}

    def names(self, prefix: str = "") -> list[str]:
        """Return the groups that are there."""
        with self.proxy.held():
            answer = self._ask("autoscaling", "DescribeAutoScalingGroups", MaxRecords="100")
            return sorted(one for one in _all(answer, "AutoScalingGroupName") if one.startswith(prefix))

    def templates(self) -> list[str]:
        """Return the names of the launch templates."""
        with self.proxy.held():
            return _all(self._ask("ec2", "DescribeLaunchTemplates", MaxResults="200"), "launchTemplateName")

    def tell_late(self, seconds: float) -> None:
        """From now on, tell what became of groups only that much later."""
        with self.proxy.held():
            whole = self._described({"Action": "DescribeAutoScalingGroups", "MaxRecords": "100"})
            self._past, self.timing.told = [(0.0, whole)], seconds

    def terminate(self, instance: str) -> None:
        """Let an instance die; its group replaces it."""
        with self.proxy.held():
            self._ask("ec2", "TerminateInstances", **{"InstanceId.1": instance})
            for group in self._groups.values():
                self._sync(group)

    def serve(self, call: Call) -> bytes:
        """Answer one call. Raises Refusal."""
        self._expire()
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", call.action).lower()
        rule = getattr(self, f"_on_{snake}", None)
        try:
            return rule(call.parameters) if rule is not None else self._forward(call.service, call.parameters)
        finally:
            if self.timing.told and not call.action.startswith("Describe"):
                whole = self._described({"Action": "DescribeAutoScalingGroups", "MaxRecords": "100"})
                self._past = [*self._past[-200:], (time.monotonic(), whole)]

    # Launch templates

    def _on_create_launch_template(self, parameters: Parameters) -> bytes:
        values = numbered(parameters, "TagSpecification.1.Tag.*.Value")
        _check_tags(len(values), values)
        token = parameters.get("ClientToken", "")
        said = hashlib.sha256(repr(sorted(parameters.items())).encode()).hexdigest()
        if token in self._client_tokens:
            before, answer = self._client_tokens[token]
            if before != said:
                raise Refusal("IdempotentParameterMismatch", "the client token was used with other parameters")
            return answer
        answer = self._forward("ec2", parameters)
        if token:
            self._client_tokens[token] = said, answer
        return answer

    # Load balancers and security groups

    def _on_create_load_balancer(self, parameters: Parameters) -> bytes:
        there = self._ask("elasticloadbalancing", "DescribeLoadBalancers")
        if parameters["Name"] in _all(there, "LoadBalancerName"):
            raise Refusal("DuplicateLoadBalancerName", f"A load balancer with the name {parameters['Name']} exists")
        answer = self._forward("elasticloadbalancing", parameters)
        self.made.append(parameters["Name"])
        return answer

    def _on_create_listener(self, parameters: Parameters) -> bytes:
        arn = parameters["LoadBalancerArn"]
        there = self._ask("elasticloadbalancing", "DescribeListeners", LoadBalancerArn=arn)
        if parameters["Port"] in _all(there, "Port"):
            raise Refusal("DuplicateListener", f"A listener already exists on port {parameters['Port']}")
        return self._forward("elasticloadbalancing", parameters)

    def _on_modify_listener(self, parameters: Parameters) -> bytes:
        answer = self._forward("elasticloadbalancing", parameters)
        weights = numbered(parameters, "DefaultActions.member.1.ForwardConfig.TargetGroups.member.*.Weight")
        self.divided.append(tuple(map(int, weights)))
        return answer

    def _on_create_security_group(self, parameters: Parameters) -> bytes:
        answer = self._forward("ec2", parameters)
        self.made.append(parameters["GroupName"])
        return answer

    def _on_delete_target_group(self, parameters: Parameters) -> bytes:
        if self._targets.get(parameters["TargetGroupArn"]):
            raise Refusal("ResourceInUse", "target group has registered targets")
        return self._forward("elasticloadbalancing", parameters)

    def pools(self) -> list[str]:
        """Return the names of all target groups."""
        with self.proxy.held():
            return _all(self._ask("elasticloadbalancing", "DescribeTargetGroups"), "TargetGroupName")

    # Auto scaling groups

    def _on_create_auto_scaling_group(self, parameters: Parameters) -> bytes:
        name = parameters["AutoScalingGroupName"]
        if name in self._groups:
            pending = " and is pending delete" if self._groups[name].deleted_at else ""
            raise Refusal("AlreadyExists", f"AutoScalingGroup by this name already exists - {name}{pending}")
        self._check_sizes(parameters)
        values = numbered(parameters, "Tags.member.*.Value")
        _check_tags(len(values), values)
        image = self._image(parameters["LaunchTemplate.LaunchTemplateId"])
        arns = numbered(parameters, "TargetGroupARNs.member.*")
        kept = {key: value for key, value in parameters.items() if not key.startswith("TargetGroupARNs")}
        answer = self._forward("autoscaling", kept)
        self._groups[name] = Group(name, image, arns)
        self.created.append(name)
        self._sync(self._groups[name])
        return answer

    def _on_update_auto_scaling_group(self, parameters: Parameters) -> bytes:
        group = self._group(parameters)
        self._check_sizes(parameters)
        if group.image == UNLAUNCHABLE:
            group.ordered = parameters["MinSize"], parameters["DesiredCapacity"]
            parameters = {**parameters, "MinSize": "0", "DesiredCapacity": "0"}
        answer = self._forward("autoscaling", parameters)
        self._sync(group)
        return answer

    def _on_delete_auto_scaling_group(self, parameters: Parameters) -> bytes:
        group = self._group(parameters)
        if group.seen and parameters.get("ForceDelete") != "true":
            raise Refusal("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances in it")
        group.deleted_at = time.monotonic()
        return b"<DeleteAutoScalingGroupResponse/>"

    def _on_terminate_instance_in_auto_scaling_group(self, parameters: Parameters) -> bytes:
        instance = parameters["InstanceId"]
        group = next((one for one in self._groups.values() if instance in one.seen), None)
        if group is None:
            raise Refusal("ValidationError", f"Instance Id not found - No managed instance found for {instance}")
        answer = self._forward("autoscaling", parameters)
        self._sync(group)
        return answer

    def _on_create_or_update_tags(self, parameters: Parameters) -> bytes:
        group = self._group({"AutoScalingGroupName": parameters["Tags.member.1.ResourceId"]})
        described = self._ask(
            "autoscaling", "DescribeAutoScalingGroups", **{"AutoScalingGroupNames.member.1": group.name}
        )
        keys = {_text(one, "Key") for one in _find(described, "Tags")[0]}
        keys |= set(numbered(parameters, "Tags.member.*.Key"))
        _check_tags(len(keys), numbered(parameters, "Tags.member.*.Value"))
        return self._forward("autoscaling", parameters)

    def _on_set_instance_protection(self, parameters: Parameters) -> bytes:
        group = self._group(parameters)
        for one in numbered(parameters, "InstanceIds.member.*"):
            if one not in group.seen or self._starting(group, one):
                raise Refusal(
                    "ValidationError", f"The instance {one} is not in InService or EnteringStandby or Standby."
                )
        return self._forward("autoscaling", parameters)

    def _on_suspend_processes(self, parameters: Parameters) -> bytes:
        self._group(parameters)
        return self._forward("autoscaling", parameters)

    _on_resume_processes = _on_suspend_processes

    def _on_describe_auto_scaling_groups(self, parameters: Parameters) -> bytes:
        told = [whole for at, whole in self._past if at <= time.monotonic() - self.timing.told]
        if not self.timing.told or not told:
            return self._described({**parameters, "MaxRecords": self.page or parameters["MaxRecords"]})
        names = numbered(parameters, "AutoScalingGroupNames.member.*")
        root = ET.fromstring(told[-1])
        listed = _find(root, "AutoScalingGroups")[0]
        for member in list(listed):
            if names and _text(member, "AutoScalingGroupName") not in names:
                listed.remove(member)
        return ET.tostring(root)

    def _described(self, parameters: Parameters) -> bytes:
        root = ET.fromstring(self._forward("autoscaling", parameters))
        for member in _find(root, "AutoScalingGroups")[0]:
            group = self._groups[_text(member, "AutoScalingGroupName")]
            arns = _find(member, "TargetGroupARNs")[0]
            space = arns.tag.rpartition("}")[0] + "}"
            for arn in group.target_groups:
                ET.SubElement(arns, f"{space}member").text = arn
            if group.deleted_at:
                ET.SubElement(member, f"{space}Status").text = "Delete in progress"
            if group.ordered:
                _find(member, "MinSize")[0].text, _find(member, "DesiredCapacity")[0].text = group.ordered
            for instance in _find(member, "Instances")[0]:
                if group.deleted_at:
                    _find(instance, "LifecycleState")[0].text = "Terminating"
                elif self._starting(group, _text(instance, "InstanceId")):
                    _find(instance, "LifecycleState")[0].text = "Pending"
        return ET.tostring(root)

    def _on_describe_scaling_activities(self, parameters: Parameters) -> bytes:
        group = self._groups.get(parameters["AutoScalingGroupName"])
        failed = (
            "<member><ActivityId>1</ActivityId><StatusCode>Failed</StatusCode><StatusMessage>The image id "
            f"'[{UNLAUNCHABLE}]' does not exist. Launching EC2 instance failed.</StatusMessage></member>"
        )
        listed = failed if group and group.ordered and group.ordered[1] != "0" else ""
        return (
            "<DescribeScalingActivitiesResponse><DescribeScalingActivitiesResult>"
            f"<Activities>{listed}</Activities></DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>"
        ).encode()

    # Instances and targets

    def _on_describe_instances(self, parameters: Parameters) -> bytes:
        """AWS tells launch times to the second; instances of one second are told apart here by their number."""
        root = ET.fromstring(self._forward("ec2", parameters))
        for item in (item for instances in _find(root, "instancesSet") for item in instances):
            number, _ = self._launched.get(_text(item, "instanceId"), (0, ""))
            instant = time.gmtime(LAUNCHED_FIRST_S + number)
            _find(item, "launchTime")[0].text = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", instant)
        return ET.tostring(root)

    def _on_describe_target_groups(self, parameters: Parameters) -> bytes:
        root = ET.fromstring(self._forward("elasticloadbalancing", parameters))
        for member in _find(root, "TargetGroups")[0]:
            balancers = _find(member, "LoadBalancerArns")[0]
            arn = _text(member, "TargetGroupArn")
            if arn in self._behind and not len(balancers):
                space = balancers.tag.rpartition("}")[0] + "}"
                ET.SubElement(balancers, f"{space}member").text = self._behind[arn]
        return ET.tostring(root)

    def _on_register_targets(self, parameters: Parameters) -> bytes:
        self._ask("elasticloadbalancing", "DescribeTargetHealth", TargetGroupArn=parameters["TargetGroupArn"])
        targets = self._targets.setdefault(parameters["TargetGroupArn"], {})
        for one in numbered(parameters, "Targets.member.*.Id"):
            if not any(one in group.seen for group in self._groups.values()):
                raise Refusal("InvalidTarget", f"The following targets are not in a running state: {one}")
            if one not in targets or targets[one][1]:
                targets[one] = time.monotonic(), 0.0
        return b"<RegisterTargetsResponse><RegisterTargetsResult/></RegisterTargetsResponse>"

    def _on_deregister_targets(self, parameters: Parameters) -> bytes:
        targets = self._targets.setdefault(parameters["TargetGroupArn"], {})
        for one in numbered(parameters, "Targets.member.*.Id"):
            if one in targets and not targets[one][1]:
                targets[one] = targets[one][0], time.monotonic()
        return b"<DeregisterTargetsResponse><DeregisterTargetsResult/></DeregisterTargetsResponse>"

    def _on_describe_target_health(self, parameters: Parameters) -> bytes:
        self._forward("elasticloadbalancing", parameters)
        now = time.monotonic()
        listed = []
        for one, (given_at, taken_at) in self._targets.get(parameters["TargetGroupArn"], {}).items():
            if taken_at:
                said = "<State>draining</State><Reason>Target.DeregistrationInProgress</Reason>"
            elif now < given_at + self.timing.healthy:
                said = "<State>initial</State><Reason>Elb.RegistrationInProgress</Reason>"
            elif self._launched[one][1] == SICK:
                said = "<State>unhealthy</State><Reason>Target.ResponseCodeMismatch</Reason>"
            else:
                said = "<State>healthy</State>"
            listed.append(
                f"<member><Target><Id>{one}</Id><Port>80</Port></Target><TargetHealth>{said}</TargetHealth></member>"
            )
        return (
            "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions>"
            f"{''.join(listed)}</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>"
        ).encode()

    # What happens by itself

    def _expire(self) -> None:
        now = time.monotonic()
        for group in [one for one in self._groups.values() if one.deleted_at]:
            if now >= group.deleted_at + self.timing.delete:
                asked = {"AutoScalingGroupName": group.name, "ForceDelete": "true"}
                self._ask("autoscaling", "DeleteAutoScalingGroup", **asked)
                self._gone(group, set(group.seen))
                del self._groups[group.name]
        for targets in self._targets.values():
            for one in [one for one, (_, at) in targets.items() if at and now >= at + self.timing.drain]:
                del targets[one]

    def _sync(self, group: Group) -> None:
        """Look what moto launched and ended, and do with it what a group's processes would."""
        described = self._ask(
            "autoscaling", "DescribeAutoScalingGroups", **{"AutoScalingGroupNames.member.1": group.name}
        )
        suspended = _all(described, "ProcessName")
        there = _all(_find(described, "Instances")[0], "InstanceId")
        for one in there:
            if one in group.seen:
                continue
            group.seen[one] = time.monotonic() + self.timing.start
            self._launched[one] = len(self._launched) + 1, group.image
            if ADD not in suspended:
                for arn in group.target_groups:
                    self._targets.setdefault(arn, {})[one] = time.monotonic(), 0.0
        self._gone(group, set(group.seen) - set(there))

    def _gone(self, group: Group, instances: set[str]) -> None:
        for one in sorted(instances, key=lambda one: self._launched[one][0]):
            self.terminated.append(one)
            del group.seen[one]
            for targets in self._targets.values():
                targets.pop(one, None)

    def _starting(self, group: Group, instance: str) -> bool:
        return time.monotonic() < group.seen.get(instance, 0.0)

    def _group(self, parameters: Parameters) -> Group:
        group = self._groups.get(parameters["AutoScalingGroupName"])
        if group is None:
            raise Refusal("ValidationError", "AutoScalingGroup name not found - null")
        if group.deleted_at:
            raise Refusal("ValidationError", f"You cannot change {group.name}: it is pending delete")
        return group

    def _check_sizes(self, parameters: Parameters) -> None:
        low, desired, high = (int(parameters[key]) for key in ("MinSize", "DesiredCapacity", "MaxSize"))
        if not low <= desired <= high:
            raise Refusal("ValidationError", f"Desired capacity:{desired} must be between {low} and {high}")

    def _image(self, template_id: str) -> str:
        try:
            asked = {"LaunchTemplateId": template_id, "LaunchTemplateVersion.1": "1"}
            image = _text(self._ask("ec2", "DescribeLaunchTemplateVersions", **asked), "imageId")
        except Refusal:
            said = f"The specified launch template, with template ID {template_id}, does not exist."
            raise Refusal("ValidationError", f"You must use a valid fully-formed launch template. {said}") from None
        if image not in IMAGES:
            said = f"The image id '[{image}]' does not exist"
            raise Refusal("ValidationError", f"You must use a valid fully-formed launch template. {said}")
        return image

    def _network(self) -> tuple[str, str]:
        subnet = next(iter(_find(self._ask("ec2", "DescribeSubnets"), "subnetSet")[0]))
        return _text(subnet, "subnetId"), _text(subnet, "vpcId")

    def _ask(self, service: str, action: str, **parameters: str) -> ET.Element:
        return ET.fromstring(self._forward(service, {"Action": action, **parameters}))

    def _forward(self, service: str, parameters: Parameters) -> bytes:
        status, body = self._moto.ask(service, parameters)
        if status != 200:
            error = ET.fromstring(body)
            raise Refusal(_text(error, "Code"), _text(error, "Message"), status)
        return body


def _check_tags(count: int, values: list[str]) -> None:
    if count > TAGS_MAX or any(len(value) > TAG_VALUE_MAX for value in values):
        raise Refusal("ValidationError", f"{count} tags of up to {max(map(len, values))} characters")


def _find(element: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in element.iter() if one.tag.rpartition("}")[2] == name]


def _text(element: ET.Element, name: str) -> str:
    return _find(element, name)[0].text or ""


def _all(element: ET.Element, name: str) -> list[str]:
    return [one.text or "" for one in _find(element, name)]
