//! The HTTP API of template.yaml: it calls functions through an alias that a deployment can shift gradually, limits
//! cart changes, and can have a custom domain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::{BTreeMap, BTreeSet};

use conformance::lambda::Route;
use shared::endpoint::Method;
use support::functions::endpoints;
use support::root;
use support::template::{of_type, read};
use yaml_rust2::{Yaml, YamlLoader};

fn template() -> Yaml {
    read("template.yaml")
}

/// Returns a value as a template has it. The parser discards tags.
fn value(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

/// Returns the functions that the HTTP API calls, by the names of their resources: all except etl.
fn functions(template: &Yaml) -> BTreeMap<&str, &Yaml> {
    let mut functions = of_type(template, "AWS::Serverless::Function");
    functions.remove("Etl").unwrap();
    functions.into_iter().map(|(name, function)| (name, &function["Properties"])).collect()
}

/// A loop's variable may stand only in names and in `!Sub`. Anywhere else CloudFormation would not replace it, and
/// neither the tests' parser nor SAM would notice.
#[test]
fn variables_of_loops_are_in_names_and_in_substitutions() {
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let mut found = 0;
    for line in text.lines().map(str::trim) {
        let value = line.strip_prefix("- ").unwrap_or(line);
        for variable in ["${Endpoint}", "${Function}"] {
            found += usize::from(line.contains(variable));
            let is_name = value.starts_with(variable) && value.ends_with(':');
            assert!(
                is_name
                    || line.matches(variable).count() == line.matches(&format!("!Sub \"{variable}")).count(),
                "{line}"
            );
        }
    }
    assert!(found > 20, "{found} lines have one");
}

/// Asserts that template.yaml has these lines. Conditions and rules depend on tags, which the parser discards.
fn assert_has_lines(lines: &[&str]) {
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    for line in lines {
        assert!(text.lines().any(|found| found.trim() == *line), "{line}");
    }
}

#[test]
fn the_api_may_call_the_live_alias_of_each_function_before_it_does() {
    let template = template();
    let resources = &template["Resources"];
    for (name, function) in functions(&template) {
        assert_eq!(function["AutoPublishAlias"].as_str(), Some("live"), "{name}");
        let alias = format!("{name}Aliaslive"); // SAM's name for the alias
        let permission = format!("{name}Permission");
        let permitted = &resources[permission.as_str()]["Properties"]["FunctionName"];
        assert_eq!(permitted.as_str(), Some(alias.as_str()));
        let integration = &resources[format!("{name}Integration").as_str()]["Properties"];
        assert_eq!(integration["IntegrationUri"].as_str(), Some(alias.as_str()));
        assert_eq!(
            integration["Description"].as_str(),
            Some(permission.as_str()),
            "the integration must depend on the permission"
        );
    }
    let permissions = of_type(&template, "AWS::Lambda::Permission");
    let of_api = |permission: &&Yaml| {
        permission["Properties"]["Principal"].as_str() == Some("apigateway.amazonaws.com")
    };
    assert_eq!(permissions.iter().filter(|(_, one)| of_api(one)).count(), functions(&template).len());
}

/// Returns the parameters that a value refers to.
fn parameters_of<'a>(value: &Yaml, template: &'a Yaml) -> BTreeSet<&'a str> {
    match value {
        Yaml::String(text) => {
            let parameters =
                template["Parameters"].as_hash().unwrap().keys().map(|name| name.as_str().unwrap());
            let is_named = |name: &&str| text == name || text.contains(&format!("${{{name}}}"));
            parameters.filter(is_named).collect()
        }
        Yaml::Array(items) => items.iter().flat_map(|item| parameters_of(item, template)).collect(),
        Yaml::Hash(members) => members.values().flat_map(|member| parameters_of(member, template)).collect(),
        _ => BTreeSet::new(),
    }
}

/// SAM publishes a version if the text of the function's properties changes, and Lambda if its code or settings change.
/// If only SAM does, the deployment fails. If SAM does not, the change is not live.
#[test]
fn every_change_of_a_parameter_is_a_new_version_of_the_functions_that_have_it() {
    let template = template();
    assert!(template["Globals"].is_badvalue(), "SAM compares only a function's own properties");
    for (name, function) in functions(&template) {
        assert_eq!(function["AutoPublishAliasAllProperties"].as_bool(), Some(true), "{name}");
        let settings = &function["Environment"]["Variables"]["SETTINGS"];
        let mut others = function.as_hash().unwrap().clone();
        others.remove(&Yaml::String("DeploymentPreference".to_owned())).unwrap(); // not part of a version
        let named = others.iter().filter(|(property, _)| property.as_str() != Some("Environment"));
        let mut named: BTreeSet<&str> =
            named.flat_map(|(_, value)| parameters_of(value, &template)).collect();
        for (variable, value) in function["Environment"]["Variables"].as_hash().unwrap() {
            if variable.as_str() != Some("SETTINGS") {
                named.extend(parameters_of(value, &template));
            }
        }
        named.insert("Release"); // for changes that no parameter shows: the layer's content, and repeating a release
        assert_eq!(parameters_of(settings, &template), named, "{name}");
    }
    // CloudFormation's loops write the values of parameters into the text before SAM reads it.
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    assert_eq!(
        text.matches(" SETTINGS: !ToJsonString\n").count(),
        2,
        "expected one in the loop and one in not-found"
    );
}

#[test]
fn a_gradual_deployment_is_rolled_back_on_an_alarm_for_errors() {
    let template = template();
    let resources = &template["Resources"];
    for (name, function) in functions(&template) {
        let preference = &function["DeploymentPreference"];
        assert_eq!(preference["Type"].as_str(), Some("Deployment"), "{name}");
        assert_eq!(preference["Enabled"], value("[Deployments, IsGradual, Deployment]"), "{name}");
        let alarms = value(&format!("[HasAlarms, [{name}Errors], [AWS::NoValue]]"));
        assert_eq!(preference["Alarms"], alarms, "{name}");
        let errors = &resources[format!("{name}Errors").as_str()]["Properties"];
        assert_eq!(errors["MetricName"].as_str(), Some("Errors"), "{name}");
        // The alarm covers all versions, so also the new one.
        assert_eq!(errors["Dimensions"], value(&format!("[{{ Name: FunctionName, Value: {name} }}]")));
    }
    // An active alarm stops CodeDeploy from deploying the fix. Deployments with AllAtOnce do not use CodeDeploy.
    let parameter = &template["Parameters"]["Deployment"];
    assert_eq!(parameter["Default"].as_str(), Some("AllAtOnce"));
    let is_gradual = &template["Mappings"]["Deployments"]["IsGradual"];
    let allowed = parameter["AllowedValues"].as_vec().unwrap();
    assert_eq!(is_gradual.as_hash().unwrap().len(), allowed.len());
    for kind in allowed.iter().map(|kind| kind.as_str().unwrap()) {
        let expected = if kind == "AllAtOnce" { "false" } else { "true" };
        assert_eq!(is_gradual[kind].as_str(), Some(expected), "{kind}");
    }
    assert_has_lines(&[
        "- Assert: !Or [!Equals [!Ref Deployment, AllAtOnce], !Equals [!Ref Alarms, \"on\"]]",
        "Enabled: !FindInMap [Deployments, IsGradual, !Ref Deployment]",
    ]);
}

#[test]
fn a_limited_not_found_cannot_exhaust_the_concurrency_of_others() {
    let template = template();
    let reserved = &template["Resources"]["NotFound"]["Properties"]["ReservedConcurrentExecutions"];
    assert_eq!(*reserved, value("[LimitsNotFound, NotFoundConcurrency, AWS::NoValue]"));
    assert_eq!(
        template["Parameters"]["NotFoundConcurrency"]["Default"].as_i64(),
        Some(0),
        "as in a new account"
    );
    assert_has_lines(&["LimitsNotFound: !Not [!Equals [!Ref NotFoundConcurrency, 0]]"]);
}

#[test]
fn every_route_that_changes_carts_has_a_separate_limit() {
    let template = template();
    let stage = &template["Resources"]["ApiStage"];
    let limit = value("{ ThrottlingBurstLimit: CartWriteBurst, ThrottlingRateLimit: CartWritesPerSecond }");
    let settings = stage["Properties"]["RouteSettings"].as_hash().unwrap();
    let limited: BTreeSet<String> = settings
        .iter()
        .map(|(key, setting)| {
            for name in ["ThrottlingBurstLimit", "ThrottlingRateLimit"] {
                assert_eq!(setting[name], limit[name], "{key:?}");
            }
            key.as_str().unwrap().to_owned()
        })
        .collect();
    let writers: BTreeSet<&str> =
        endpoints().filter(|endpoint| endpoint.method != Method::Get).map(|endpoint| endpoint.name).collect();
    let routes = Route::from_template().into_iter();
    let expected: BTreeSet<String> =
        routes.filter(|route| writers.contains(route.function.as_str())).map(|route| route.key).collect();
    assert_eq!(limited, expected);

    // A stage cannot have settings for a route that does not exist yet.
    let waits_for = stage["DependsOn"].as_vec().unwrap();
    let before: BTreeSet<&str> = of_type(&template, "AWS::ApiGatewayV2::Route")
        .into_iter()
        .filter(|(_, route)| limited.contains(route["Properties"]["RouteKey"].as_str().unwrap()))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(waits_for.iter().map(|name| name.as_str().unwrap()).collect::<BTreeSet<_>>(), before);
}

#[test]
fn the_api_has_a_custom_domain_only_with_a_certificate() {
    let template = template();
    for name in ["ApiDomain", "ApiCertificateArn"] {
        assert_eq!(template["Parameters"][name]["Default"].as_str(), Some(""), "{name}");
    }
    let (domain, mapping) =
        (&template["Resources"]["ApiDomainName"], &template["Resources"]["ApiMapping"]["Properties"]);
    let configuration = &domain["Properties"]["DomainNameConfigurations"][0];
    assert_eq!(domain["Properties"]["DomainName"].as_str(), Some("ApiDomain"));
    assert_eq!(configuration["CertificateArn"].as_str(), Some("ApiCertificateArn"));
    assert_eq!(
        configuration["EndpointType"].as_str(),
        Some("REGIONAL"),
        "an HTTP API supports only regional endpoints"
    );
    assert_eq!(*mapping, value("{ ApiId: Api, DomainName: ApiDomainName, Stage: ApiStage }"));
    for name in ["ApiDomainName", "ApiMapping"] {
        assert_eq!(template["Resources"][name]["Condition"].as_str(), Some("HasApiDomain"), "{name}");
    }
    let output = &template["Outputs"]["ApiDomainTarget"];
    assert_eq!(output["Condition"].as_str(), Some("HasApiDomain"));
    assert_eq!(output["Value"].as_str(), Some("ApiDomainName.RegionalDomainName"));
    assert_has_lines(&[
        "HasApiDomain: !Not [!Equals [!Ref ApiCertificateArn, \"\"]]",
        "- Assert: !Or [!Equals [!Ref ApiDomain, \"\"], !Not [!Equals [!Ref ApiCertificateArn, \"\"]]]",
        "- Assert: !Or [!Equals [!Ref ApiCertificateArn, \"\"], !Not [!Equals [!Ref ApiDomain, \"\"]]]",
    ]);
}
