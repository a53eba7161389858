package ec2

import (
	"fmt"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// Sample is a small account: a network, a web server with its AMI, template, group and load balancer. Snapshots of the AMI are
// in the world.
type Sample struct {
	Root, Data *world.Snapshot // the AMI's
}

// IDs of the sample's resources.
const (
	SampleImage    = "ami-0123456789abcdef0"
	SampleWindows  = "ami-0f00000000000000f"
	SampleInstance = "i-0123456789abcdef0"
	SampleVPC      = "vpc-0a1b2c3d4e5f60718"
	SampleSubnet   = "subnet-0a1b2c3d4e5f60718"
	SampleGroup    = "sg-0a1b2c3d4e5f60718"
	SampleTemplate = "lt-0a1b2c3d4e5f60718"
	SampleAddress  = "eipalloc-0a1b2c3d4e5f60718"
	SampleBalancer = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188"
	SampleTargets  = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/73e2d6bc24d8a067"
	SampleListener = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2"
)

// SampleUserData is what the sample's instance is started with, in base64: it holds a password.
const SampleUserData = "IyEvYmluL3NoCmVjaG8gcGFzc3dvcmQ9aHVudGVyMiA+L2V0Yy9hcHAuY29uZgo="

func tagSet(pairs ...string) string {
	s := "<tagSet>"
	for i := 0; i < len(pairs); i += 2 {
		s += "<item><key>" + pairs[i] + "</key><value>" + pairs[i+1] + "</value></item>"
	}
	return s + "</tagSet>"
}

// AddSample fills a server with the sample account. root and data are what the AMI's snapshots hold; they may be nil.
func AddSample(s *Server, root, data world.Content) *Sample {
	x := &Sample{
		Root: s.World.AddSnapshot(world.Snapshot{VolumeID: "vol-0000000000000root", SizeGiB: 1, Description: "root of web", Content: root, Tags: map[string]string{"role": "root"}}),
		Data: s.World.AddSnapshot(world.Snapshot{VolumeID: "vol-0000000000000data", SizeGiB: 1, Description: "data of web", Content: data, Encrypted: true, KMSKeyID: "arn:aws:kms:eu-central-1:123456789012:key/1"}),
	}
	sampleNetwork(s)
	sampleMachines(s, x)
	sampleGroups(s)
	return x
}

func sampleNetwork(s *Server) {
	const owner = "<ownerId>123456789012</ownerId>"
	s.Put("vpc", SampleVPC, "<vpcId>"+SampleVPC+"</vpcId>"+owner+`<state>available</state><cidrBlock>10.0.0.0/16</cidrBlock>
		<cidrBlockAssociationSet><item><cidrBlock>10.0.0.0/16</cidrBlock><associationId>vpc-cidr-assoc-1</associationId><cidrBlockState><state>associated</state></cidrBlockState></item></cidrBlockAssociationSet>
		<dhcpOptionsId>dopt-1</dhcpOptionsId><instanceTenancy>default</instanceTenancy><isDefault>false</isDefault>`+tagSet("Name", "main", "env", "prod"))
	s.SetAttribute(SampleVPC, "enableDnsSupport", "<enableDnsSupport><value>true</value></enableDnsSupport>")
	s.SetAttribute(SampleVPC, "enableDnsHostnames", "<enableDnsHostnames><value>true</value></enableDnsHostnames>")
	s.Put("subnet", SampleSubnet, "<subnetId>"+SampleSubnet+"</subnetId><vpcId>"+SampleVPC+"</vpcId>"+owner+`<state>available</state><cidrBlock>10.0.1.0/24</cidrBlock>
		<availableIpAddressCount>250</availableIpAddressCount><availabilityZone>eu-central-1a</availabilityZone><availabilityZoneId>euc1-az2</availabilityZoneId>
		<defaultForAz>false</defaultForAz><mapPublicIpOnLaunch>true</mapPublicIpOnLaunch>`+tagSet("Name", "web"))
	s.Put("route-table", "rtb-1", "<routeTableId>rtb-1</routeTableId><vpcId>"+SampleVPC+"</vpcId>"+owner+`<routeSet>
		<item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state><origin>CreateRouteTable</origin></item>
		<item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><gatewayId>igw-1</gatewayId><state>active</state><origin>CreateRoute</origin></item></routeSet>
		<associationSet><item><routeTableAssociationId>rtbassoc-1</routeTableAssociationId><routeTableId>rtb-1</routeTableId><subnetId>`+SampleSubnet+`</subnetId><main>false</main></item></associationSet>`)
	s.Put("internet-gateway", "igw-1", "<internetGatewayId>igw-1</internetGatewayId>"+owner+"<attachmentSet><item><vpcId>"+SampleVPC+"</vpcId><state>available</state></item></attachmentSet>")
	s.Put("nat-gateway", "nat-1", "<natGatewayId>nat-1</natGatewayId><subnetId>"+SampleSubnet+"</subnetId><vpcId>"+SampleVPC+"</vpcId><state>available</state><createTime>2026-01-02T03:04:05.000Z</createTime>")
	s.Put("nat-gateway", "nat-2", "<natGatewayId>nat-2</natGatewayId><state>deleted</state>")
	s.Put("network-acl", "acl-1", "<networkAclId>acl-1</networkAclId><vpcId>"+SampleVPC+"</vpcId><default>true</default>"+
		"<entrySet><item><ruleNumber>100</ruleNumber><protocol>-1</protocol><ruleAction>allow</ruleAction><egress>false</egress><cidrBlock>0.0.0.0/0</cidrBlock></item></entrySet>")
	s.Put("dhcp-options", "dopt-1", "<dhcpOptionsId>dopt-1</dhcpOptionsId><dhcpConfigurationSet><item><key>domain-name-servers</key>"+
		"<valueSet><item><value>10.0.0.9</value></item><item><value>10.0.0.2</value></item></valueSet></item></dhcpConfigurationSet>")
	s.Put("security-group", SampleGroup, "<groupId>"+SampleGroup+"</groupId><groupName>web</groupName><groupDescription>Web servers</groupDescription><vpcId>"+SampleVPC+"</vpcId>"+owner+`<ipPermissions>
		<item><ipProtocol>tcp</ipProtocol><fromPort>443</fromPort><toPort>443</toPort><groups/><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp><description>everybody</description></item></ipRanges></item>
		<item><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort><groups><item><userId>123456789012</userId><groupId>`+SampleGroup+`</groupId></item></groups></item></ipPermissions>
		<ipPermissionsEgress><item><ipProtocol>-1</ipProtocol><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges><ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges></item></ipPermissionsEgress>`+tagSet("Name", "web"))
	rule := func(id, rest string) {
		s.Put("security-group-rule", id, "<securityGroupRuleId>"+id+"</securityGroupRuleId><groupId>"+SampleGroup+"</groupId><groupOwnerId>123456789012</groupOwnerId>"+rest)
	}
	rule("sgr-1", "<isEgress>false</isEgress><ipProtocol>tcp</ipProtocol><fromPort>443</fromPort><toPort>443</toPort><cidrIpv4>0.0.0.0/0</cidrIpv4><description>everybody</description>")
	rule("sgr-2", "<isEgress>false</isEgress><ipProtocol>tcp</ipProtocol><fromPort>22</fromPort><toPort>22</toPort><referencedGroupInfo><groupId>"+SampleGroup+"</groupId></referencedGroupInfo>")
	rule("sgr-3", "<isEgress>true</isEgress><ipProtocol>-1</ipProtocol><fromPort>-1</fromPort><toPort>-1</toPort><cidrIpv4>0.0.0.0/0</cidrIpv4>")
	rule("sgr-4", "<isEgress>true</isEgress><ipProtocol>-1</ipProtocol><fromPort>-1</fromPort><toPort>-1</toPort><cidrIpv6>::/0</cidrIpv6>")
	s.Put("address", SampleAddress, "<allocationId>"+SampleAddress+"</allocationId><publicIp>203.0.113.17</publicIp><domain>vpc</domain><instanceId>"+SampleInstance+
		"</instanceId><networkInterfaceId>eni-1</networkInterfaceId><associationId>eipassoc-1</associationId><privateIpAddress>10.0.1.10</privateIpAddress><networkBorderGroup>eu-central-1</networkBorderGroup>"+tagSet("Name", "web"))
	s.Put("key-pair", "key-1", "<keyPairId>key-1</keyPairId><keyName>admin</keyName><keyType>ed25519</keyType><keyFingerprint>aa:bb</keyFingerprint><publicKey>ssh-ed25519 AAAA admin</publicKey><createTime>2026-01-01T00:00:00.000Z</createTime>")
}

func sampleMachines(s *Server, x *Sample) {
	image := func(id, name, rest string) {
		s.Put("image", id, "<imageId>"+id+"</imageId><name>"+name+`</name><imageLocation>123456789012/`+name+`</imageLocation><imageState>available</imageState><imageOwnerId>123456789012</imageOwnerId>
			<creationDate>2026-10-01T10:00:00.000Z</creationDate><isPublic>false</isPublic><architecture>x86_64</architecture><imageType>machine</imageType><rootDeviceType>ebs</rootDeviceType>
			<rootDeviceName>/dev/xvda</rootDeviceName><virtualizationType>hvm</virtualizationType><hypervisor>xen</hypervisor><enaSupport>true</enaSupport>`+rest)
	}
	image(SampleImage, "web-2026-10", fmt.Sprintf(`<sriovNetSupport>simple</sriovNetSupport><bootMode>uefi</bootMode><tpmSupport>v2.0</tpmSupport><imdsSupport>v2.0</imdsSupport>
		<description>web server</description><platformDetails>Linux/UNIX</platformDetails><usageOperation>RunInstances</usageOperation><lastLaunchedTime>2026-11-01T00:00:00Z</lastLaunchedTime>
		<blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>%s</snapshotId><volumeSize>2</volumeSize><deleteOnTermination>true</deleteOnTermination><volumeType>gp3</volumeType><iops>3000</iops><throughput>125</throughput><encrypted>false</encrypted></ebs></item>
		<item><deviceName>/dev/sdf</deviceName><ebs><snapshotId>%s</snapshotId><volumeSize>1</volumeSize><deleteOnTermination>false</deleteOnTermination><volumeType>gp3</volumeType><encrypted>true</encrypted></ebs></item>
		<item><deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName></item></blockDeviceMapping>`, x.Root.ID, x.Data.ID)+tagSet("Name", "web", "env", "prod"))
	s.SetAttribute(SampleImage, "launchPermission", "<launchPermission><item><userId>210987654321</userId></item></launchPermission>")
	s.SetAttribute(SampleImage, "uefiData", "<uefiData><value>QU1aTlVFRkk=</value></uefiData>")
	image(SampleWindows, "windows", `<platform>windows</platform><platformDetails>Windows</platformDetails><usageOperation>RunInstances:0002</usageOperation>
		<blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>`+x.Root.ID+`</snapshotId></ebs></item></blockDeviceMapping>`)
	s.Put("image", "ami-amazon", "<imageId>ami-amazon</imageId><imageOwnerId>137112412989</imageOwnerId><name>al2023</name>")
	instance := func(id, state, rest string) {
		s.Put("instance", id, "<reservationId>r-"+id+`</reservationId><ownerId>123456789012</ownerId><groupSet/><instancesSet><item><instanceId>`+id+"</instanceId><imageId>"+SampleImage+
			"</imageId><instanceState><code>16</code><name>"+state+`</name></instanceState><instanceType>m7i.large</instanceType><launchTime>2026-10-02T10:00:00.000Z</launchTime>
			<keyName>admin</keyName><subnetId>`+SampleSubnet+"</subnetId><vpcId>"+SampleVPC+`</vpcId><privateIpAddress>10.0.1.10</privateIpAddress><ebsOptimized>true</ebsOptimized>
			<placement><availabilityZone>eu-central-1a</availabilityZone><tenancy>default</tenancy></placement><sourceDestCheck>true</sourceDestCheck>
			<iamInstanceProfile><arn>arn:aws:iam::123456789012:instance-profile/web</arn><id>AIPA1</id></iamInstanceProfile>
			<monitoring><state>disabled</state></monitoring>
			<metadataOptions><state>applied</state><httpTokens>required</httpTokens><httpPutResponseHopLimit>2</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint></metadataOptions>
			<rootDeviceName>/dev/xvda</rootDeviceName><rootDeviceType>ebs</rootDeviceType>
			<groupSet><item><groupId>`+SampleGroup+"</groupId><groupName>web</groupName></item></groupSet>"+rest+"</item></instancesSet>")
	}
	instance(SampleInstance, "running", `<platformDetails>Linux/UNIX</platformDetails><usageOperation>RunInstances</usageOperation>
		<blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-0000000000000root</volumeId><status>attached</status><deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>`+
		tagSet("Name", "web-1", "env", "prod"))
	s.SetAttribute(SampleInstance, "userData", "<userData><value>"+SampleUserData+"</value></userData>")
	s.SetAttribute(SampleInstance, "disableApiTermination", "<disableApiTermination><value>true</value></disableApiTermination>")
	s.SetAttribute(SampleInstance, "disableApiStop", "<disableApiStop><value>false</value></disableApiStop>")
	s.SetAttribute(SampleInstance, "instanceInitiatedShutdownBehavior", "<instanceInitiatedShutdownBehavior><value>stop</value></instanceInitiatedShutdownBehavior>")
	instance("i-0terminated", "terminated", "")
	instance("i-0windows", "stopped", "<platformDetails>Windows</platformDetails><usageOperation>RunInstances:0002</usageOperation>"+tagSet("Name", "win"))
	s.World.AddVolume(world.Volume{ID: "vol-0000000000000root", SizeGiB: 1, Zone: "eu-central-1a", Instance: SampleInstance, SnapshotID: x.Root.ID, IOPS: 3000, Throughput: 125, Tags: map[string]string{"Name": "web root", "env": "prod"}, Content: x.Root.Content})
	s.World.AddVolume(world.Volume{ID: "vol-0000000000000data", SizeGiB: 1, Zone: "eu-central-1a", Encrypted: true, State: "available", Tags: map[string]string{"Name": "data"}, Content: x.Data.Content})
	s.Put("network-interface", "eni-1", "<networkInterfaceId>eni-1</networkInterfaceId><subnetId>"+SampleSubnet+"</subnetId><vpcId>"+SampleVPC+`</vpcId><status>in-use</status><macAddress>02:00:00:00:00:01</macAddress>
		<privateIpAddress>10.0.1.10</privateIpAddress><sourceDestCheck>true</sourceDestCheck><interfaceType>interface</interfaceType><groupSet><item><groupId>`+SampleGroup+"</groupId></item></groupSet>"+
		"<attachment><attachmentId>eni-attach-1</attachmentId><instanceId>"+SampleInstance+"</instanceId><deviceIndex>0</deviceIndex><deleteOnTermination>true</deleteOnTermination></attachment>")
	s.Put("launch-template", SampleTemplate, "<launchTemplateId>"+SampleTemplate+"</launchTemplateId><launchTemplateName>web</launchTemplateName><createTime>2026-09-01T00:00:00.000Z</createTime><defaultVersionNumber>1</defaultVersionNumber><latestVersionNumber>2</latestVersionNumber>"+tagSet("env", "prod"))
	for n, kind := range map[int]string{1: "m6i.large", 2: "m7i.large"} {
		s.Put("launch-template-version", fmt.Sprintf("%s#%d", SampleTemplate, n), fmt.Sprintf(`<launchTemplateId>%s</launchTemplateId><launchTemplateName>web</launchTemplateName><versionNumber>%d</versionNumber><defaultVersion>%t</defaultVersion>
			<launchTemplateData><imageId>%s</imageId><instanceType>%s</instanceType><keyName>admin</keyName><userData>%s</userData><securityGroupIdSet><item>%s</item></securityGroupIdSet><ebsOptimized>true</ebsOptimized></launchTemplateData>`,
			SampleTemplate, n, n == 1, SampleImage, kind, SampleUserData, SampleGroup))
	}
}

func sampleGroups(s *Server) {
	s.Put("auto-scaling-group", "web", "<AutoScalingGroupName>web</AutoScalingGroupName><AutoScalingGroupARN>arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:1:autoScalingGroupName/web</AutoScalingGroupARN>"+
		"<MinSize>1</MinSize><MaxSize>4</MaxSize><DesiredCapacity>2</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><HealthCheckType>ELB</HealthCheckType><CreatedTime>2026-09-02T00:00:00Z</CreatedTime>"+
		"<AvailabilityZones><member>eu-central-1a</member></AvailabilityZones><VPCZoneIdentifier>"+SampleSubnet+"</VPCZoneIdentifier><LaunchTemplate><LaunchTemplateId>"+SampleTemplate+"</LaunchTemplateId><Version>$Default</Version></LaunchTemplate>")
	s.Put("scaling-policy", "grow", "<PolicyName>grow</PolicyName><AutoScalingGroupName>web</AutoScalingGroupName><PolicyType>TargetTrackingScaling</PolicyType>")
	s.Put("launch-configuration", "old", "<LaunchConfigurationName>old</LaunchConfigurationName><ImageId>"+SampleImage+"</ImageId><InstanceType>m5.large</InstanceType><UserData>"+SampleUserData+"</UserData><CreatedTime>2024-01-01T00:00:00Z</CreatedTime>")
	s.Put("load-balancer", SampleBalancer, "<LoadBalancerArn>"+SampleBalancer+"</LoadBalancerArn><LoadBalancerName>web</LoadBalancerName><Type>application</Type><Scheme>internet-facing</Scheme><VpcId>"+SampleVPC+"</VpcId><CreatedTime>2026-09-03T00:00:00Z</CreatedTime>"+
		"<SecurityGroups><member>"+SampleGroup+"</member></SecurityGroups>")
	s.Put("load-balancer-attribute", SampleBalancer+"#1", "<Key>deletion_protection.enabled</Key><Value>true</Value>")
	s.Put("listener", SampleBalancer+"#1", "<ListenerArn>"+SampleListener+"</ListenerArn><LoadBalancerArn>"+SampleBalancer+"</LoadBalancerArn><Port>443</Port><Protocol>HTTPS</Protocol>")
	s.Put("listener-rule", SampleListener+"#1", "<RuleArn>"+SampleListener+"/1</RuleArn><Priority>default</Priority><IsDefault>true</IsDefault>")
	s.Put("target-group", SampleTargets, "<TargetGroupArn>"+SampleTargets+"</TargetGroupArn><TargetGroupName>web</TargetGroupName><Protocol>HTTP</Protocol><Port>8080</Port><VpcId>"+SampleVPC+"</VpcId>")
	s.Put("target-group-attribute", SampleTargets+"#1", "<Key>stickiness.enabled</Key><Value>false</Value>")
	s.Put("tags", SampleBalancer, "<member><Key>env</Key><Value>prod</Value></member>")
}
