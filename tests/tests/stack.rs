//! template.yaml configures what a load relies on AWS for: the queue, permissions, network, encryption and alarms.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeSet;

use etl::function::INCOMING_PREFIX;
use support::functions::endpoints;
use support::root;
use support::template::{alarms, assert_alarms_are_counted, assert_patterns_are_strict, of_type, texts};
use yaml_rust2::Yaml;

fn template() -> Yaml {
    support::template::read("template.yaml")
}

/// Returns the statements of a policy with this effect: allow or deny.
fn statements<'a>(policy: &'a Yaml, effect: &str) -> Vec<&'a Yaml> {
    let statements = policy["PolicyDocument"]["Statement"].as_vec().unwrap().iter();
    statements.filter(|statement| statement["Effect"].as_str() == Some(effect)).collect()
}

#[test]
fn the_loader_is_built_and_logs_in_like_the_endpoints_functions() {
    let template = template();
    let function = &template["Resources"]["Etl"];
    assert_eq!(function["Metadata"]["BuildMethod"].as_str(), Some("rust-cargolambda"));
    assert_eq!(function["Metadata"]["BuildProperties"]["Binary"].as_str(), Some("etl"));
    let function = &function["Properties"];
    assert_eq!(function["CodeUri"].as_str(), Some("etl"));
    let variables = &function["Environment"]["Variables"];
    let url = variables["DATABASE_URL"].as_str().unwrap();
    assert!(url.starts_with("postgresql://etl@${DatabaseHost}"), "{url}");
    assert_eq!(variables["DATABASE_AUTH"].as_str(), Some("iam"));
    let logins = std::fs::read_to_string(root().join("functions/logins.sql")).unwrap();
    assert!(logins.contains("('etl', 'atelier_loader')"), "functions/logins.sql");
}

#[test]
fn a_message_is_hidden_for_the_length_of_an_invocation_and_moved_to_the_dead_letters_after_20() {
    let template = template();
    let resources = &template["Resources"];
    let (function, queue) = (&resources["Etl"]["Properties"], &resources["LoadQueue"]["Properties"]);
    let timeout = function["Timeout"].as_i64().unwrap();
    let visibility = queue["VisibilityTimeout"].as_i64().unwrap();
    assert_eq!(timeout, 900, "Lambda's maximum");
    assert_eq!(visibility, timeout + 60);
    assert_eq!(queue["RedrivePolicy"]["maxReceiveCount"].as_i64(), Some(20));
    assert_eq!(queue["RedrivePolicy"]["deadLetterTargetArn"].as_str(), Some("LoadDeadLetters.Arn"));

    let source = &resources["EtlMessages"]["Properties"];
    assert_eq!(source["EventSourceArn"].as_str(), Some("LoadQueue.Arn"));
    assert_eq!(source["FunctionName"].as_str(), Some("Etl"));
    assert_eq!(source["BatchSize"].as_i64(), Some(1));
    assert_eq!(texts(&source["FunctionResponseTypes"]), BTreeSet::from(["ReportBatchItemFailures"]));
    assert_eq!(source["ScalingConfig"]["MaximumConcurrency"].as_i64(), Some(2));
    // A message that a throttled function rejects would count as received.
    assert!(function["ReservedConcurrentExecutions"].is_badvalue());

    // From its third delivery on, a message does not count for its queue's age.
    let age = resources["LoadQueueAge"]["Properties"]["Threshold"].as_i64().unwrap();
    assert!((timeout..2 * visibility).contains(&age), "{age}");
}

#[test]
fn only_uploads_below_the_prefix_become_messages() {
    let template = template();
    let resources = &template["Resources"];
    let bucket = &resources["Incoming"]["Properties"];
    let notifications = bucket["NotificationConfiguration"]["QueueConfigurations"].as_vec().unwrap();
    let [notification] = notifications.as_slice() else { panic!("{notifications:?}") };
    assert_eq!(notification["Event"].as_str(), Some("s3:ObjectCreated:*"));
    assert_eq!(notification["Queue"].as_str(), Some("LoadQueue.Arn"));
    let rules = notification["Filter"]["S3Key"]["Rules"].as_vec().unwrap();
    let [rule] = rules.as_slice() else { panic!("{rules:?}") };
    let rule = (rule["Name"].as_str().unwrap(), rule["Value"].as_str().unwrap());
    assert_eq!(rule, ("prefix", INCOMING_PREFIX));
    let variables = &resources["Etl"]["Properties"]["Environment"]["Variables"];
    assert_eq!(variables["INCOMING_PREFIX"].as_str(), Some(INCOMING_PREFIX));
    // In the incoming bucket, rejects would count as uploads.
    assert_eq!(variables["REJECTS_URL"].as_str(), Some("s3://${Rejects}/"));

    // S3 verifies the queue's policy before it accepts the notification. So the policy has the bucket's name, not a
    // reference to the bucket.
    assert_eq!(resources["Incoming"]["DependsOn"].as_str(), Some("LoadQueuePolicy"));
    let allowed = statements(&resources["LoadQueuePolicy"]["Properties"], "Allow");
    let [allowed] = allowed.as_slice() else { panic!("{allowed:?}") };
    assert_eq!(allowed["Principal"]["Service"].as_str(), Some("s3.amazonaws.com"));
    assert_eq!(texts(&allowed["Action"]), BTreeSet::from(["sqs:SendMessage"]));
    assert_eq!(allowed["Resource"].as_str(), Some("LoadQueue.Arn"));
    let (name, condition) = (bucket["BucketName"].as_str().unwrap(), &allowed["Condition"]);
    let arn = format!("arn:${{AWS::Partition}}:s3:::{name}");
    assert_eq!(condition["ArnEquals"]["aws:SourceArn"].as_str(), Some(arn.as_str()));
    assert_eq!(condition["StringEquals"]["aws:SourceAccount"].as_str(), Some("AWS::AccountId"));
}

#[test]
fn the_loader_has_only_the_permissions_listed_here() {
    let template = template();
    let role = &template["Resources"]["EtlRole"]["Properties"];
    let policies = role["Policies"].as_vec().unwrap();
    let allowed: Vec<_> = policies.iter().flat_map(|policy| statements(policy, "Allow")).collect();
    let mut rights = BTreeSet::new();
    for statement in &allowed {
        for action in texts(&statement["Action"]) {
            rights.extend(texts(&statement["Resource"]).into_iter().map(|resource| (action, resource)));
        }
    }
    let files = format!("${{Incoming.Arn}}/{INCOMING_PREFIX}*");
    let login =
        "arn:${AWS::Partition}:rds-db:${AWS::Region}:${AWS::AccountId}:dbuser:${DatabaseResourceId}/etl";
    let expected = BTreeSet::from([
        ("logs:CreateLogStream", "EtlLog.Arn"),
        ("logs:PutLogEvents", "EtlLog.Arn"),
        ("rds-db:connect", login),
        ("s3:GetObject", files.as_str()),
        ("s3:ListBucket", "Incoming.Arn"),
        ("s3:PutObject", "${Rejects.Arn}/*"),
        ("sqs:DeleteMessage", "LoadQueue.Arn"),
        ("sqs:GetQueueAttributes", "LoadQueue.Arn"),
        ("sqs:ReceiveMessage", "LoadQueue.Arn"),
    ]);
    assert_eq!(rights, expected);
    assert_eq!(texts(&role["ManagedPolicyArns"]), BTreeSet::from(["NetworkPolicy", "TracePolicy"]));
    let lists =
        allowed.iter().find(|statement| texts(&statement["Action"]).contains("s3:ListBucket")).unwrap();
    let below = lists["Condition"]["StringLike"]["s3:prefix"].as_str().unwrap();
    assert_eq!(below, format!("{INCOMING_PREFIX}*"));
}

/// Returns the peers and ports of a security group's rules.
fn reached(group: &Yaml) -> BTreeSet<(&str, &Yaml)> {
    let rules = group["Properties"]["SecurityGroupEgress"].as_vec().unwrap().iter();
    let to = ["DestinationSecurityGroupId", "DestinationPrefixListId"];
    rules
        .map(|rule| (to.iter().find_map(|to| rule[*to].as_str()).unwrap_or("anywhere"), &rule["ToPort"]))
        .collect()
}

#[test]
fn the_loader_reaches_the_database_and_s3_and_endpoints_only_the_database() {
    let template = template();
    let resources = &template["Resources"];
    let port = Yaml::String("DatabasePort".to_owned());
    let database = ("DatabaseSecurityGroupId", &port);
    assert_eq!(reached(&resources["FunctionSecurityGroup"]), BTreeSet::from([database]));
    let s3 = ("S3PrefixListId", &Yaml::Integer(443));
    assert_eq!(reached(&resources["LoadSecurityGroup"]), BTreeSet::from([database, s3]));
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        let network = &function["Properties"]["VpcConfig"];
        let group = match name {
            "Etl" => "LoadSecurityGroup",
            "NotFound" if network.is_badvalue() => continue, // the function uses no database
            _ => "FunctionSecurityGroup",
        };
        assert_eq!(texts(&network["SecurityGroupIds"]), BTreeSet::from([group]), "{name}");
    }
}

#[test]
fn buckets_and_queues_are_encrypted_and_require_tls_and_files_survive_the_stack() {
    let template = template();
    let buckets = of_type(&template, "AWS::S3::Bucket");
    assert_eq!(buckets.keys().copied().collect::<Vec<_>>(), ["FilesBucket", "Incoming", "Rejects"]);
    for (name, bucket) in &buckets {
        assert_eq!(bucket["DeletionPolicy"].as_str(), Some("RetainExceptOnCreate"), "{name}");
        assert_eq!(bucket["UpdateReplacePolicy"].as_str(), Some("Retain"), "{name}");
        let bucket = &bucket["Properties"];
        let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
        let algorithm = &encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"];
        assert_eq!(algorithm.as_str(), Some("AES256"), "{name}");
        for block in ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"] {
            let block = &bucket["PublicAccessBlockConfiguration"][block];
            assert_eq!(block.as_bool(), Some(true), "{name}");
        }
        let ownership = &bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"];
        assert_eq!(ownership.as_str(), Some("BucketOwnerEnforced"), "{name}");
        if *name == "FilesBucket" {
            continue; // a command writes its files again
        }
        assert_eq!(bucket["VersioningConfiguration"]["Status"].as_str(), Some("Enabled"), "{name}");
        let rules = bucket["LifecycleConfiguration"]["Rules"].as_vec().unwrap();
        for ends in ["NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"] {
            let enabled = |rule: &&Yaml| rule["Status"].as_str() == Some("Enabled");
            assert!(rules.iter().filter(enabled).any(|rule| !rule[ends].is_badvalue()), "{name}: {ends}");
        }
    }
    let queues = of_type(&template, "AWS::SQS::Queue");
    assert_eq!(queues.keys().copied().collect::<Vec<_>>(), ["LoadDeadLetters", "LoadQueue"]);
    for (name, queue) in &queues {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"].as_bool(), Some(true), "{name}");
        assert_eq!(queue["Properties"]["MessageRetentionPeriod"].as_i64(), Some(14 * 86_400), "{name}");
    }
    let mut without_tls = BTreeSet::new();
    for policy in of_type(&template, "AWS::S3::BucketPolicy").values().copied() {
        without_tls.extend(refused_without_tls(policy, "s3:*"));
    }
    for policy in of_type(&template, "AWS::SQS::QueuePolicy").values().copied() {
        without_tls.extend(refused_without_tls(policy, "sqs:*"));
    }
    let mut expected: BTreeSet<String> = queues.keys().map(|queue| format!("{queue}.Arn")).collect();
    for bucket in buckets.keys() {
        expected.extend([format!("{bucket}.Arn"), format!("{bucket}.Arn/*")]);
    }
    assert_eq!(without_tls, expected);
}

/// Returns the resources on which a policy denies an action without TLS.
fn refused_without_tls(policy: &Yaml, action: &str) -> BTreeSet<String> {
    let denied = statements(&policy["Properties"], "Deny").into_iter().filter(|statement| {
        statement["Principal"].as_str() == Some("*")
            && statement["Action"].as_str() == Some(action)
            && statement["Condition"]["Bool"]["aws:SecureTransport"].as_str() == Some("false")
    });
    let resources = denied.flat_map(|statement| texts(&statement["Resource"]));
    resources.map(|resource| resource.replace("${", "").replace('}', "")).collect()
}

#[test]
fn all_alarms_are_optional_and_notify_the_topic() {
    let template = template();
    let alarms = alarms(&template);
    assert_eq!(alarms.len(), 3 * endpoints().count() + 9);
    assert_alarms_are_counted(&template, "three for an endpoint, and nine more");
    assert!(!alarms.contains_key("NotFoundThrottles"), "its limit is meant to throttle it");

    // A misspelt metric would never have data.
    let watched = |name: &str| {
        let alarm = &alarms[name]["Properties"];
        let dimension = &alarm["Dimensions"][0];
        let told = [&alarm["Namespace"], &alarm["MetricName"], &dimension["Name"], &dimension["Value"]];
        told.map(|text| text.as_str().unwrap()).join(" ")
    };
    assert_eq!(watched("EtlFailedLoads"), "Atelier loads_failed function Etl");
    assert_eq!(watched("EtlIgnoredDeliveries"), "Atelier deliveries_ignored function Etl");
    assert_eq!(watched("EtlErrors"), "AWS/Lambda Errors FunctionName Etl");
    let age = "AWS/SQS ApproximateAgeOfOldestMessage QueueName LoadQueue.QueueName";
    assert_eq!(watched("LoadQueueAge"), age);
    let dead = "AWS/SQS ApproximateNumberOfMessagesVisible QueueName LoadDeadLetters.QueueName";
    assert_eq!(watched("LoadDeadLettersWaiting"), dead);
    for name in ["EtlFailedLoads", "EtlIgnoredDeliveries", "EtlErrors", "LoadDeadLettersWaiting"] {
        assert_eq!(alarms[name]["Properties"]["Threshold"].as_i64(), Some(0), "{name}");
    }
}

#[test]
fn a_schedule_invokes_the_loader_to_prune_and_may_be_off() {
    let template = template();
    let resources = &template["Resources"];
    let (rule, permission) = (&resources["Prune"], &resources["PrunePermission"]);
    for resource in [rule, permission] {
        assert_eq!(resource["Condition"].as_str(), Some("HasPrune"));
    }
    let target = &rule["Properties"]["Targets"][0];
    assert_eq!(target["Arn"].as_str(), Some("Etl.Arn"));
    let event = target["Input"].as_str().unwrap().replace("${PruneDays}", "90");
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    let expected =
        serde_json::json!({"source": "aws.scheduler", "action": "prune", "days": 90, "used_once_days": 1});
    assert_eq!(event, expected);
    let permission = &permission["Properties"];
    let permission =
        ["FunctionName", "Principal", "SourceArn"].map(|name| permission[name].as_str().unwrap());
    assert_eq!(permission, ["Etl", "events.amazonaws.com", "Prune.Arn"]);
    assert_patterns_are_strict(&template);
}

#[test]
fn the_api_logs_addresses_only_on_request() {
    let template = template();
    let format = &template["Resources"]["ApiStage"]["Properties"]["AccessLogSettings"]["Format"];
    assert_eq!(template["Parameters"]["LogAddresses"]["Default"].as_str(), Some("off"));
    let client = &format[1]["Client"];
    assert_eq!([client[0].as_str(), client[2].as_str()], [Some("LogsAddresses"), Some("")]);
    for client in [client[1].as_str().unwrap(), ""] {
        let line = format[0].as_str().unwrap().replace("${Client}", client);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let has_address = line.to_string().contains("sourceIp");
        assert_eq!(has_address, !client.is_empty(), "{line}");
    }
}

/// Returns the texts between `start` and the next quote in a source file.
fn quoted(path: &str, start: &str) -> BTreeSet<String> {
    let source = std::fs::read_to_string(root().join(path)).unwrap();
    let code = source.split("#[cfg(test)]").next().unwrap();
    let found = code.split(start).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    found.collect()
}

#[test]
fn the_dashboard_has_each_function_and_each_metric_of_their_log_lines() {
    let template = template();
    let dashboard = &template["Resources"]["Dashboard"]["Properties"];
    assert_eq!(dashboard["DashboardName"].as_str(), Some("AWS::StackName"));
    let widgets = dashboard["DashboardBody"]["widgets"].as_vec().unwrap();
    let (mut areas, mut metrics, mut searches) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for widget in widgets {
        assert!(areas.insert((widget["x"].as_i64(), widget["y"].as_i64())), "two widgets at the same place");
        let properties = &widget["properties"];
        let mut columns: Vec<&str> = Vec::new();
        for metric in properties["metrics"].as_vec().unwrap() {
            if let Some(search) = metric[0]["expression"].as_str() {
                searches.insert(search);
                continue;
            }
            // Dots repeat columns of the line before: one `.` a single column, `...` all that are not given.
            let given: Vec<&str> = metric.as_vec().unwrap().iter().filter_map(Yaml::as_str).collect();
            if given[0] == "..." {
                columns.truncate(4 - given[1..].len());
                columns.extend(&given[1..]);
            } else {
                let former = columns.clone();
                let resolve = |(at, text)| if text == "." { former[at] } else { text };
                columns = given.into_iter().enumerate().map(resolve).collect();
            }
            metrics.insert(columns.clone());
        }
    }
    for (function, _) in of_type(&template, "AWS::Serverless::Function") {
        for metric in ["Duration", "Errors", "Throttles", "ConcurrentExecutions"] {
            let is_there = metrics.contains(&vec!["AWS/Lambda", metric, "FunctionName", function]);
            assert!(is_there || function == "Etl", "{function}: {metric}");
        }
        let of_function = format!("function=\"${{{function}}}\"");
        for metric in quoted("functions/lambda-adapter/src/log.rs", "Metric { name: \"") {
            let named = format!("\"{metric}\"");
            let is_there =
                searches.iter().any(|search| search.contains(&of_function) && search.contains(&named));
            assert!(is_there || function == "Etl", "{function}: {metric}");
        }
    }
    let of_loads = quoted("etl/src/metrics.rs", " => \"");
    assert_eq!(of_loads.len(), 3, "{of_loads:?}");
    for metric in &of_loads {
        assert!(metrics.contains(&vec!["Atelier", metric.as_str(), "function", "Etl"]), "{metric}");
    }
}

#[test]
fn tracing_is_a_parameter_of_each_function_and_off_by_default() {
    let template = template();
    let parameter = &template["Parameters"]["Tracing"];
    assert_eq!(parameter["Default"].as_str(), Some("PassThrough"));
    assert_eq!(texts(&parameter["AllowedValues"]), BTreeSet::from(["PassThrough", "Active"]));
    for (name, function) in of_type(&template, "AWS::Serverless::Function") {
        assert_eq!(function["Properties"]["Tracing"].as_str(), Some("Tracing"), "{name}");
        let role = function["Properties"]["Role"].as_str().or(function["Properties"]["Role"][0].as_str());
        let role = role.unwrap().trim_end_matches(".Arn");
        let policies = texts(&template["Resources"][role]["Properties"]["ManagedPolicyArns"]);
        assert!(policies.contains("TracePolicy"), "{name}: {policies:?}");
    }
}
