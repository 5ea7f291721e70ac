//! The parts of deploy/ec2.yaml and of the host's unit that a deployment's machines rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::{BTreeMap, BTreeSet};

use shared::config::HostConfig;
use support::root;
use support::template::{
    alarms, assert_alarms_are_counted, assert_patterns_are_strict, of_type, read, texts,
};
use yaml_rust2::Yaml;

const TIERS: [&str; 3] = ["Database", "Host", "Proxy"];

/// Returns the launch template of a tier. A loop makes those of all tiers alike.
fn machine(template: &Yaml) -> &Yaml {
    let machines = of_type(template, "AWS::EC2::LaunchTemplate");
    let tiers = machines.keys().map(|name| name.strip_suffix("Machine").unwrap());
    assert_eq!(tiers.collect::<BTreeSet<_>>(), BTreeSet::from(TIERS));
    &machines["HostMachine"]["Properties"]["LaunchTemplateData"]
}

/// Returns the value for a stack without a ClientPrefixListId and with its own database.
fn chosen(value: &Yaml) -> Option<&str> {
    match value[0].as_str() {
        Some("LimitsClients") => value[2].as_str(),
        Some("OwnDatabase") => value[1].as_str(),
        _ => value.as_str(),
    }
}

/// Returns the rules of a security group in one direction: the peer, and the port.
fn rules<'a>(group: &'a Yaml, direction: &str) -> BTreeSet<(&'a str, i64)> {
    let rules = group["Properties"][direction].as_vec().map_or(&[][..], Vec::as_slice).iter();
    let of_rds = |rule: &Yaml| rule[0].as_str() == Some("OwnDatabase");
    rules
        .filter(|rule| !of_rds(rule))
        .map(|rule| {
            let rule = if rule[0].as_str() == Some("LimitsClients") { &rule[2] } else { rule };
            let side = ["CidrIp", "DestinationSecurityGroupId"].iter().find_map(|side| chosen(&rule[*side]));
            assert_eq!(rule["FromPort"], rule["ToPort"]);
            (side.unwrap(), rule["FromPort"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn values_of_parameters_cannot_run_commands_and_the_rendered_settings_reach_nginx() {
    let template = read("deploy/ec2.yaml");
    let bytes = std::fs::metadata(root().join("deploy/ec2.yaml")).unwrap().len();
    assert!(
        bytes <= 51_200,
        "{bytes} bytes: `aws cloudformation deploy` would need a bucket for the template"
    );
    assert_patterns_are_strict(&template);
    let output = machine(&template)["UserData"]["Fn::Base64"].as_str().unwrap();
    for set in [
        "RATE_LIMIT=${RateLimit}",
        "NEW_CART_LIMIT=${NewCartLimit}",
        "LOG_ADDRESSES=${LogAddresses}",
        "CART_KEY_SECRET='${CartKeySecretArn}'",
    ] {
        assert!(output.contains(&format!("{set}\n")), "{set}: {output}");
    }
}

#[test]
fn each_tier_connects_only_to_the_next_one() {
    let template = read("deploy/ec2.yaml");
    let groups = of_type(&template, "AWS::EC2::SecurityGroup");
    let names: BTreeSet<_> = groups.keys().copied().collect();
    assert_eq!(names, BTreeSet::from(["DatabaseGroup", "HostGroup", "ProxyGroup"]));
    let out = |name: &str| rules(groups[name], "SecurityGroupEgress");
    let world = ("0.0.0.0/0", 443); // AWS and packages
    assert_eq!(out("ProxyGroup"), BTreeSet::from([world, ("HostGroup", 3000)]));
    assert_eq!(out("HostGroup"), BTreeSet::from([world, ("DatabaseGroup", 5432)]));
    assert_eq!(out("DatabaseGroup"), BTreeSet::from([world]));

    let into = |name: &str| rules(groups[name], "SecurityGroupIngress");
    assert_eq!(into("ProxyGroup"), BTreeSet::from([world, ("0.0.0.0/0", 80)]));
    assert!(into("HostGroup").is_empty() && into("DatabaseGroup").is_empty());
    let mut of_their_own = of_type(&template, "AWS::EC2::SecurityGroupIngress");
    let monitoring = of_their_own.remove("MonitoringIntoHosts").unwrap();
    assert_eq!(monitoring["Condition"].as_str(), Some("HasMonitoring"));
    assert_eq!(template["Parameters"]["MonitoringSecurityGroupId"]["Default"].as_str(), Some(""));
    let monitoring = &monitoring["Properties"];
    assert_eq!(monitoring["SourceSecurityGroupId"].as_str(), Some("MonitoringSecurityGroupId"));
    assert_eq!(monitoring["GroupId"].as_str(), Some("HostGroup"));
    let port = monitoring["ToPort"].as_i64().unwrap();
    assert_eq!(monitoring["FromPort"].as_i64(), Some(port));
    assert!(script("setup-host").contains(&format!("\nADMIN_LISTEN=$address:{port}\n")), "{port}");
    let of_their_own: BTreeSet<_> = of_their_own
        .values()
        .map(|rule| {
            let rule = &rule["Properties"];
            let text = |name: &str| chosen(&rule[name]).unwrap();
            (text("SourceSecurityGroupId"), text("GroupId"), rule["ToPort"].as_i64().unwrap())
        })
        .collect();
    let expected = [("ProxyGroup", "HostGroup", 3000), ("HostGroup", "DatabaseGroup", 5432)];
    assert_eq!(of_their_own, BTreeSet::from(expected));
}

#[test]
fn roles_name_their_resources_except_for_sessions_files_metrics_instances_and_group_ids() {
    let template = read("deploy/ec2.yaml");
    let mut documents: Vec<&Yaml> = Vec::new();
    for kind in ["AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"] {
        documents.extend(
            of_type(&template, kind).into_values().map(|policy| &policy["Properties"]["PolicyDocument"]),
        );
    }
    for role in of_type(&template, "AWS::IAM::Role").into_values() {
        assert_eq!(texts(&role["Properties"]["ManagedPolicyArns"]), BTreeSet::from(["MachinePolicy"]));
        let policies = role["Properties"]["Policies"].as_vec().unwrap();
        documents.extend(policies.iter().map(|policy| &policy["PolicyDocument"]));
    }
    let mut wide = BTreeSet::new();
    for statement in documents.iter().flat_map(|document| document["Statement"].as_vec().unwrap()) {
        let actions = texts(&statement["Action"]);
        assert!(actions.iter().all(|action| !action.contains('*')), "{actions:?}");
        let resources = &statement["Resource"];
        let resources = resources.as_vec().map_or(std::slice::from_ref(resources), Vec::as_slice);
        for resource in resources.iter().filter_map(Yaml::as_str).filter(|resource| resource.contains('*')) {
            wide.extend(actions.iter().map(|action| (*action, resource)));
        }
    }
    let groups = ["1", "2", "3"].map(|slot| {
        let named = "arn:${AWS::Partition}:autoscaling:${AWS::Region}:${AWS::AccountId}:autoScalingGroup";
        format!("{named}:*:autoScalingGroupName/${{AWS::StackName}}-host-{slot}")
    });
    let expected = [
        ("autoscaling:CompleteLifecycleAction", groups[0].as_str()),
        ("autoscaling:CompleteLifecycleAction", groups[1].as_str()),
        ("autoscaling:CompleteLifecycleAction", groups[2].as_str()),
        ("cloudwatch:PutMetricData", "*"),
        ("ec2:DescribeInstances", "*"),
        ("s3:GetObject", "${Backups.Arn}/*"),
        ("s3:GetObject", "arn:${AWS::Partition}:s3:::${DatasetsBucket}/incoming/*"),
        ("s3:PutObject", "${Backups.Arn}/*"),
        ("ssm:UpdateInstanceInformation", "*"),
        ("ssmmessages:CreateControlChannel", "*"),
        ("ssmmessages:CreateDataChannel", "*"),
        ("ssmmessages:OpenControlChannel", "*"),
        ("ssmmessages:OpenDataChannel", "*"),
    ];
    assert_eq!(wide, BTreeSet::from(expected));
}

#[test]
fn machines_require_metadata_tokens_and_all_disks_are_encrypted() {
    let template = read("deploy/ec2.yaml");
    let machine = machine(&template);
    assert_eq!(machine["MetadataOptions"]["HttpTokens"].as_str(), Some("required"));
    assert_eq!(machine["BlockDeviceMappings"][0]["Ebs"]["Encrypted"].as_bool(), Some(true));
    let volumes = of_type(&template, "AWS::EC2::Volume");
    assert_eq!(volumes.keys().copied().collect::<Vec<_>>(), ["DataVolume", "WalVolume"]);
    let output = machine["UserData"]["Fn::Base64"].as_str().unwrap();
    for (volume, variable) in [("DataVolume", "VOLUME_PARAMETER"), ("WalVolume", "WAL_PARAMETER")] {
        let properties = &volumes[volume];
        assert_eq!(properties["Properties"]["Encrypted"].as_bool(), Some(true));
        assert_eq!(properties["DeletionPolicy"].as_str(), Some("Snapshot"));
        assert_eq!(properties["UpdateReplacePolicy"].as_str(), Some("Snapshot"));
        // The machine waits for exactly this volume.
        let named = &template["Resources"][format!("{volume}Id").as_str()]["Properties"];
        assert_eq!(named["Value"].as_str(), Some(volume));
        let command = format!("{variable}={}\n", named["Name"].as_str().unwrap());
        assert!(output.contains(&command), "{command}: {output}");
    }
    let backups = &template["Resources"]["Backups"];
    assert_eq!(backups["DeletionPolicy"].as_str(), Some("RetainExceptOnCreate"));
    let backups = &backups["Properties"];
    let encryption = &backups["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"].as_str(), Some("AES256"));
    assert_eq!(backups["VersioningConfiguration"]["Status"].as_str(), Some("Enabled"));
    assert!(output.contains("BACKUP_BUCKET=${Backups}\n"), "{output}");
    // Otherwise a new image or release would replace the machine and detach its data volume.
    let version = &template["Resources"]["Database"]["Properties"]["LaunchTemplate"]["Version"];
    assert_eq!(version.as_str(), Some("DatabaseMachineVersion"));
}

#[test]
fn each_machine_signals_its_resource_and_the_next_one_starts_after_it() {
    let template = read("deploy/ec2.yaml");
    let resources = &template["Resources"];
    let tags = |name: &str| -> BTreeMap<&str, &str> {
        let tags = resources[name]["Properties"]["Tags"].as_vec().unwrap().iter();
        tags.filter_map(|tag| Some((tag["Key"].as_str()?, tag["Value"].as_str()?))).collect()
    };
    for (machine, waits) in [
        ("Database", "DatabaseReady"),
        ("Host1", "Host1"),
        ("Host2", "Host2"),
        ("Host3", "Host3"),
        ("Proxy", "Proxy"),
    ] {
        assert_eq!(tags(machine)["signals"], waits);
        assert!(!resources[waits]["CreationPolicy"]["ResourceSignal"]["Timeout"].is_badvalue(), "{waits}");
    }
    for (after, before) in
        [("DatabaseName", "DatabaseReady"), ("Host2", "Host1"), ("Host3", "Host2"), ("Proxy", "Host3")]
    {
        assert!(texts(&resources[after]["DependsOn"]).contains(before), "{after} after {before}");
    }
    let tagged = resources["Host1"]["Properties"]["Tags"].as_vec().unwrap().iter();
    let mut referred = tagged.filter(|tag| tag["Key"].as_str() == Some("database")).map(|tag| &tag["Value"]);
    assert_eq!(referred.next().unwrap()[1].as_str(), Some("DatabaseName"), "Host1 after DatabaseName");
    for slot in ["1", "2", "3"] {
        let name = format!("Host{slot}");
        assert_eq!(tags(&name)["slot"], slot);
        let address = resources[format!("{name}Address").as_str()]["Properties"]["Name"].as_str();
        assert_eq!(address, Some(format!("/${{AWS::StackName}}/host-{slot}").as_str()));
        let update = &resources[name.as_str()]["UpdatePolicy"]["AutoScalingRollingUpdate"];
        assert_eq!(update["WaitOnResourceSignals"].as_bool(), Some(true));
    }
    // A new release replaces hosts and proxy, because it is a new version of their launch template.
    let tagged = machine(&template)["TagSpecifications"][0]["Tags"].as_vec().unwrap();
    assert!(tagged.iter().any(|tag| tag["Value"].as_str() == Some("ReleaseSha256")), "{tagged:?}");
    for tier in TIERS {
        let script = root().join("deploy/ec2").join(format!("setup-{}", tier.to_lowercase()));
        assert!(script.is_file(), "{}", script.display());
    }
}

/// Returns a text file of `deploy/ec2`.
fn script(name: &str) -> String {
    std::fs::read_to_string(root().join("deploy/ec2").join(name)).unwrap()
}

#[test]
fn a_host_enters_service_once_it_is_ready_and_is_abandoned_before_cloudformation_times_out() {
    let template = read("deploy/ec2.yaml");
    let setup = script("setup-host");
    for slot in ["1", "2", "3"] {
        let group = &template["Resources"][format!("Host{slot}").as_str()];
        let update = &group["UpdatePolicy"]["AutoScalingRollingUpdate"];
        let group = &group["Properties"];
        let name = format!("${{AWS::StackName}}-host-{slot}");
        assert_eq!(
            group["AutoScalingGroupName"].as_str(),
            Some(name.as_str()),
            "the group's name differs from the one in the role"
        );
        let hooks = group["LifecycleHookSpecificationList"].as_vec().unwrap();
        assert_eq!(hooks.len(), 1);
        let text = |name: &str| hooks[0][name].as_str().unwrap();
        assert_eq!(text("LifecycleTransition"), "autoscaling:EC2_INSTANCE_LAUNCHING");
        assert_eq!(text("DefaultResult"), "ABANDON");
        let minutes = update["PauseTime"].as_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit());
        let heartbeat_timeout = hooks[0]["HeartbeatTimeout"].as_i64().unwrap();
        assert!(
            heartbeat_timeout < 60 * minutes.parse::<i64>().unwrap(),
            "{heartbeat_timeout} s, {minutes} min"
        );
        let completes = format!("--lifecycle-hook-name {} ", text("LifecycleHookName"));
        assert!(setup.contains(&completes), "{completes}: {setup}");
    }
    let output = machine(&template)["UserData"]["Fn::Base64"].as_str().unwrap();
    assert!(output.contains("HOST_GROUPS=${AWS::StackName}-host-\n"), "{output}");
    let (registered, completed) =
        (setup.find("ssm put-parameter").unwrap(), setup.find("complete-lifecycle-action").unwrap());
    assert!(setup.find("wait_for 120 serves").unwrap() < registered && registered < completed);
    assert!(setup[completed..].contains("--lifecycle-action-result CONTINUE"));
}

#[test]
fn every_machine_has_an_optional_alarm_that_notifies_the_topic() {
    let template = read("deploy/ec2.yaml");
    assert_alarms_are_counted(&template, &format!("there are {},", alarms(&template).len()));
    let watched: BTreeSet<_> = alarms(&template)
        .values()
        .map(|alarm| {
            let alarm = &alarm["Properties"];
            let dimension = &alarm["Dimensions"][0];
            (alarm["MetricName"].as_str().unwrap(), dimension["Value"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("BackupAgeSeconds", "AWS::StackName"),
        ("CPUUtilization", "Database"),
        ("DiskUsedPercent", "AWS::StackName"),
        ("FailedUnits", "AWS::StackName"),
        ("GroupInServiceInstances", "Host1"),
        ("GroupInServiceInstances", "Host2"),
        ("GroupInServiceInstances", "Host3"),
        ("StatusCheckFailed", "Database"),
        ("StatusCheckFailed", "Proxy"),
    ];
    assert_eq!(watched, BTreeSet::from(expected));
}

/// Returns a setting of the host's unit, in seconds or in MiB.
fn setting(unit: &str, name: &str, measure: &str) -> u64 {
    let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).expect(name);
    line.strip_suffix(measure).unwrap_or_else(|| panic!("{name}={line}: in {measure}")).parse().unwrap()
}

#[test]
fn the_unit_gives_the_host_enough_time_to_start_and_stop() {
    let unit = std::fs::read_to_string(root().join("deploy/systemd/atelier-host.service")).unwrap();
    let url = |name: &str| (name == "DATABASE_URL").then(|| "host=/nowhere user=web".to_owned());
    let defaults = HostConfig::from_lookup(&url).unwrap();
    let (grace, connecting) = (defaults.http.shutdown_grace, defaults.database.connect_timeout);
    assert!(setting(&unit, "TimeoutStopSec", "s") > grace.as_secs());
    assert!(setting(&unit, "TimeoutStartSec", "s") > connecting.as_secs());
    assert!(unit.contains("\nStartLimitIntervalSec=0\n"), "systemd stops restarting the host");
    assert!(!unit.contains("\nEnvironment="), "everybody can read variables that the unit sets");
    // deploy/ec2/setup-host raises the limit by as much as the cache.
    let host = script("setup-host");
    let beside_the_cache = setting(&unit, "MemoryMax", "M") - 256;
    assert!(host.contains(&format!("MemoryMax=$((CACHE_MEGABYTES + {beside_the_cache}))M")), "{host}");
}

#[test]
fn with_a_database_elsewhere_the_stack_creates_no_database_instance() {
    let template = read("deploy/ec2.yaml");
    for kind in ["AWS::EC2::Volume", "AWS::Route53::HostedZone", "AWS::Route53::RecordSet"] {
        for (name, resource) in of_type(&template, kind) {
            assert_eq!(resource["Condition"].as_str(), Some("OwnDatabase"), "{name}");
        }
    }
    for name in ["Database", "DatabaseReady", "DataVolumeId", "WalVolumeId"] {
        assert_eq!(template["Resources"][name]["Condition"].as_str(), Some("OwnDatabase"), "{name}");
    }
    for (name, attachment) in of_type(&template, "AWS::EC2::VolumeAttachment") {
        assert_eq!(attachment["Condition"].as_str(), Some("AttachesVolume"), "{name}");
    }
    let alarms = alarms(&template);
    for name in ["BackupMissing", "DatabaseBusy", "DatabaseDiskFull", "DatabaseFailed", "DatabaseJobFailed"] {
        assert_eq!(alarms[name]["Condition"].as_str(), Some("HasDatabaseAlarms"), "{name}");
    }
    // During the move, the hosts that still run use the stack's database.
    let egress = template["Resources"]["HostGroup"]["Properties"]["SecurityGroupEgress"].as_vec().unwrap();
    let rds = egress.iter().find(|rule| rule[0].as_str() == Some("OwnDatabase")).unwrap();
    assert_eq!(rds[1].as_str(), Some("AWS::NoValue"));
    assert_eq!(rds[2]["DestinationSecurityGroupId"].as_str(), Some("DatabaseSecurityGroupId"));
    assert!(egress.iter().any(|rule| rule["DestinationSecurityGroupId"].as_str() == Some("DatabaseGroup")));
}
