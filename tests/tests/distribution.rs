//! The CloudFront distribution of template.yaml treats each endpoint as the endpoint's constants require, with and without
//! hosts behind it. So does the part of NGINX's configuration that depends on the endpoints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeSet;

use shared::endpoint::ALLOW_GET;
use shared::{Endpoint, StaticFile};
use support::functions::endpoints;
use support::root;
use support::template::{made, read, texts};
use yaml_rust2::{Yaml, YamlLoader};

/// The ids of AWS managed policies, as AWS documents them.
const CACHING_DISABLED: &str = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad";
const ALL_VIEWER_EXCEPT_HOST_HEADER: &str = "b689b0a8-53d0-40ab-baf2-68738e2966ac";

/// Every method that CloudFront can forward.
const ALL_METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"];

/// Returns a list as a template has it.
fn list(text: &str) -> Yaml {
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

/// Returns the distribution if exactly these conditions hold.
fn distribution(conditions: &[&str]) -> Yaml {
    let template = read("template.yaml");
    let distribution = &template["Resources"]["Distribution"]["Properties"]["DistributionConfig"];
    made(&template, distribution, conditions)
}

/// Returns every form of the distribution.
fn distributions() -> [Yaml; 5] {
    [
        &[][..],
        &["HasDocs", "HasFiles"],
        &["HasPage", "HasFiles"],
        &["HasBalancer"],
        &["HasBalancer", "CatalogFromBalancer"],
    ]
    .map(distribution)
}

/// Returns the ids of origins, or of groups.
fn ids(items: &Yaml) -> Vec<&str> {
    items.as_vec().unwrap().iter().map(|item| item["Id"].as_str().unwrap()).collect()
}

/// Returns whether CloudFront applies a behaviour with this pattern to a path. `*` matches any text, also with slashes.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
    }
}

/// Returns the behaviours except the default one, in the order in which CloudFront tries them.
fn behaviours(distribution: &Yaml) -> &[Yaml] {
    distribution["CacheBehaviors"].as_vec().unwrap()
}

/// Returns the behaviour that CloudFront applies to a path, or `None` for the default one.
fn own_behaviour<'a>(distribution: &'a Yaml, path: &str) -> Option<&'a Yaml> {
    let mut all = behaviours(distribution).iter();
    all.find(|behaviour| matches(behaviour["PathPattern"].as_str().unwrap(), path))
}

/// Returns paths of an endpoint as clients send them.
fn paths(endpoint: &Endpoint) -> [String; 2] {
    ["", "/"].map(|slash| endpoint.path_with("33") + slash)
}

fn is_of_carts(endpoint: &Endpoint) -> bool {
    endpoint.path == "/cart" || endpoint.path.starts_with("/cart/")
}

#[test]
fn the_distribution_exists_only_if_cloudfront_is_on() {
    let template = read("template.yaml");
    assert_eq!(template["Resources"]["Distribution"]["Condition"].as_str(), Some("HasDistribution"));
    assert_eq!(template["Resources"]["CatalogCachePolicy"]["Condition"].as_str(), Some("HasDistribution"));
    assert_eq!(template["Conditions"]["HasDistribution"], list("[CloudFront, 'on']"));
    assert_eq!(template["Parameters"]["CloudFront"]["Default"].as_str(), Some("off"));
}

#[test]
fn carts_are_never_cached_and_everything_the_client_sent_reaches_their_origin() {
    for distribution in distributions() {
        for endpoint in endpoints().filter(|endpoint| is_of_carts(endpoint)) {
            for path in paths(endpoint) {
                let behaviour =
                    own_behaviour(&distribution, &path).unwrap_or_else(|| panic!("{path} is cached"));
                assert_eq!(behaviour["CachePolicyId"].as_str(), Some(CACHING_DISABLED), "{path}");
                let passed_on = behaviour["OriginRequestPolicyId"].as_str();
                assert_eq!(passed_on, Some(ALL_VIEWER_EXCEPT_HOST_HEADER), "{path}");
                assert_eq!(texts(&behaviour["AllowedMethods"]), BTreeSet::from(ALL_METHODS), "{path}");
                // CloudFront rejects a group if methods other than GET, HEAD and OPTIONS are allowed.
                assert_eq!(behaviour["TargetOriginId"].as_str(), Some("CartOrigin"), "{path}");
            }
        }
    }
}

#[test]
fn the_catalog_has_the_default_behaviour_with_every_method_of_its_endpoints() {
    for distribution in distributions() {
        let default = &distribution["DefaultCacheBehavior"];
        assert_eq!(default["CachePolicyId"].as_str(), Some("CatalogCachePolicy"));
        assert!(
            default["OriginRequestPolicyId"].is_badvalue(),
            "a value outside the cache key reaches the origin"
        );
        let methods = texts(&default["AllowedMethods"]);
        for endpoint in endpoints().filter(|endpoint| !is_of_carts(endpoint)) {
            for path in paths(endpoint) {
                assert_eq!(own_behaviour(&distribution, &path), None, "{path}");
            }
            for method in endpoint.allow.split(", ") {
                assert!(methods.contains(method), "{method} of {}: {methods:?}", endpoint.name);
            }
        }
    }
}

#[test]
fn the_cache_key_and_the_ttl_follow_the_endpoints() {
    let template = read("template.yaml");
    let policy = &template["Resources"]["CatalogCachePolicy"]["Properties"]["CachePolicyConfig"];
    assert_eq!(policy["MinTTL"].as_i64(), Some(0), "the policy overrides no-store");
    assert_eq!(policy["DefaultTTL"].as_i64(), Some(0), "the policy caches responses without Cache-Control");
    let key = &policy["ParametersInCacheKeyAndForwardedToOrigin"];
    assert_eq!(key["EnableAcceptEncodingGzip"].as_bool(), Some(true));
    assert_eq!(key["CookiesConfig"]["CookieBehavior"].as_str(), Some("none"));
    assert_eq!(key["HeadersConfig"]["HeaderBehavior"].as_str(), Some("none"));

    let distribution = distribution(&[]);
    let is_cached = |endpoint: &&Endpoint| own_behaviour(&distribution, &paths(endpoint)[0]).is_none();
    let read: BTreeSet<&str> =
        endpoints().filter(is_cached).flat_map(|endpoint| endpoint.query).copied().collect();
    let query = &key["QueryStringsConfig"];
    assert_eq!(query["QueryStringBehavior"].as_str(), Some("whitelist"));
    assert_eq!(texts(&query["QueryStrings"]), read);
}

#[test]
fn with_a_load_balancer_the_catalog_fails_over_in_the_configured_order() {
    let template = read("template.yaml");
    assert_eq!(template["Conditions"]["HasBalancer"], list("[[BalancerDomain, '']]"));
    assert_eq!(template["Conditions"]["CatalogFromBalancer"], list("[CatalogFirst, balancer]"));
    for (conditions, first, second) in [
        (&["HasBalancer"][..], "api", "balancer"),
        (&["HasBalancer", "CatalogFromBalancer"], "balancer", "api"),
    ] {
        let distribution = distribution(conditions);
        assert_eq!(ids(&distribution["Origins"]), ["api", "balancer"]);
        let groups = &distribution["OriginGroups"];
        let target = distribution["DefaultCacheBehavior"]["TargetOriginId"].as_str().unwrap();
        assert_eq!(target, format!("{first}-then-{second}"));
        let mut items = groups["Items"].as_vec().unwrap().iter();
        let group = items.find(|group| group["Id"].as_str() == Some(target)).expect(target);
        let codes = group["FailoverCriteria"]["StatusCodes"]["Items"].as_vec().unwrap().iter();
        assert_eq!(codes.map(|code| code.as_i64().unwrap()).collect::<Vec<_>>(), [500, 502, 503, 504]);
        // CloudFront tries the members in this order.
        let members = group["Members"]["Items"].as_vec().unwrap().iter();
        let members: Vec<_> = members.map(|member| member["OriginId"].as_str().unwrap()).collect();
        assert_eq!(members, [first, second]);
    }
}

#[test]
fn without_a_load_balancer_the_http_api_is_the_only_origin() {
    for conditions in [&[][..], &["CatalogFromBalancer"]] {
        let distribution = distribution(conditions);
        assert_eq!(ids(&distribution["Origins"]), ["api"]);
        assert!(distribution["OriginGroups"].is_badvalue(), "a group needs two origins");
        assert_eq!(distribution["DefaultCacheBehavior"]["TargetOriginId"].as_str(), Some("api"));
    }
    let template = read("template.yaml");
    assert_eq!(template["Parameters"]["BalancerDomain"]["Default"].as_str(), Some(""));
    for parameter in ["CatalogFirst", "CartOrigin"] {
        let parameter = &template["Parameters"][parameter];
        assert_eq!(parameter["Default"].as_str(), Some("api"));
        assert_eq!(parameter["AllowedValues"], list("[api, balancer]"));
    }
}

#[test]
fn with_docs_the_reference_comes_from_a_bucket_with_the_headers_of_a_host() {
    let (with, without) = (distribution(&["HasDocs", "HasFiles"]), distribution(&[]));
    let paths = atelier_host::reference::ENDPOINTS.iter().map(|endpoint| endpoint.path).chain(["/docs/"]);
    assert_from_bucket(paths, &with, &without, "DocsHeaders");
    assert_eq!(ids(&with["Origins"]), ["api", "files"]);
    assert_eq!(with["Origins"][1]["DomainName"].as_str(), Some("FilesBucket.RegionalDomainName"));
    assert_eq!(with["Origins"][1]["OriginAccessControlId"].as_str(), Some("FilesAccess.Id"));

    let template = read("template.yaml");
    let (_, page) = atelier_host::reference::FILES.iter().find(|(path, _)| *path == "docs.html").unwrap();
    assert_headers(&template, "DocsHeaders", page);

    let policy = &template["Resources"]["FilesBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"];
    let mut statements = policy.as_vec().unwrap().iter();
    let allowed = statements.find(|statement| statement["Effect"].as_str() == Some("Allow")).unwrap();
    assert_eq!(allowed["Principal"]["Service"].as_str(), Some("cloudfront.amazonaws.com"));
    assert_eq!(allowed["Action"].as_str(), Some("s3:GetObject"));
    let source = allowed["Condition"]["StringEquals"]["AWS:SourceArn"].as_str().unwrap();
    assert!(source.ends_with(":distribution/${Distribution}"), "{source}");
    assert!(statements.all(|statement| statement["Effect"].as_str() == Some("Deny")));
}

/// Asserts that the bucket serves these paths with the headers of a policy, and that without it no behaviour names them.
fn assert_from_bucket<'a>(
    paths: impl IntoIterator<Item = &'a str>,
    with: &Yaml,
    without: &Yaml,
    headers: &str,
) {
    for path in paths {
        let behaviour = own_behaviour(with, path).expect(path);
        assert_eq!(behaviour["TargetOriginId"].as_str(), Some("files"), "{path}");
        assert_eq!(behaviour["ResponseHeadersPolicyId"].as_str(), Some(headers), "{path}");
        assert_eq!(behaviour["Compress"].as_bool(), Some(true), "{path}");
        assert_eq!(own_behaviour(without, path), None, "{path}");
    }
}

/// Asserts that the distribution adds the headers with which a host sends a page.
fn assert_headers(template: &Yaml, resource: &str, page: &StaticFile) {
    let headers = &template["Resources"][resource]["Properties"]["ResponseHeadersPolicyConfig"];
    let headers = &headers["SecurityHeadersConfig"];
    for (name, value) in page.headers {
        let same = match name.as_str() {
            "content-security-policy" => &headers["ContentSecurityPolicy"]["ContentSecurityPolicy"],
            "x-content-type-options" => &Yaml::String("nosniff".to_owned()), // the only value
            other => panic!("the distribution does not send {other}"),
        };
        assert_eq!(same.as_str(), Some(*value), "{name}");
    }
    assert_eq!(headers["ContentTypeOptions"]["Override"].as_bool(), Some(true));
}

#[test]
fn with_page_the_root_comes_from_the_bucket_with_the_headers_of_a_host() {
    let (with, without) = (distribution(&["HasPage", "HasFiles"]), distribution(&[]));
    assert_eq!(with["DefaultRootObject"].as_str(), Some("index.html"));
    assert!(without["DefaultRootObject"].is_badvalue());
    assert_from_bucket(["/index.html", "/page/app.js", "/page/app.css"], &with, &without, "PageHeaders");
    assert_headers(&read("template.yaml"), "PageHeaders", &atelier_host::page::PAGE);
}

/// Conditions and rules depend on tags, which the parser discards.
#[test]
fn page_and_docs_are_optional_and_require_a_distribution() {
    let template = read("template.yaml");
    for parameter in ["Docs", "Page"] {
        assert_eq!(template["Parameters"][parameter]["Default"].as_str(), Some("off"));
    }
    for (resource, condition) in [
        ("FilesBucket", "HasFiles"),
        ("FilesBucketPolicy", "HasFiles"),
        ("FilesAccess", "HasFiles"),
        ("DocsHeaders", "HasDocs"),
        ("PageHeaders", "HasPage"),
    ] {
        assert_eq!(template["Resources"][resource]["Condition"].as_str(), Some(condition), "{resource}");
    }
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    for line in [
        "HasDocs: !And [!Condition HasDistribution, !Equals [!Ref Docs, \"on\"]]",
        "HasPage: !And [!Condition HasDistribution, !Equals [!Ref Page, \"on\"]]",
        "HasFiles: !Or [!Condition HasDocs, !Condition HasPage]",
        "Assert: !Or [!Equals [!Ref Docs, \"off\"], !Equals [!Ref CloudFront, \"on\"]]",
        "Assert: !Or [!Equals [!Ref Page, \"off\"], !Equals [!Ref CloudFront, \"on\"]]",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn a_web_acl_is_optional_and_requires_a_distribution() {
    assert_eq!(distribution(&["HasWebAcl"])["WebACLId"].as_str(), Some("WebAclArn"));
    assert!(distribution(&[])["WebACLId"].is_badvalue());
    assert_eq!(read("template.yaml")["Parameters"]["WebAclArn"]["Default"].as_str(), Some(""));
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    for line in [
        "HasWebAcl: !Not [!Equals [!Ref WebAclArn, \"\"]]",
        "Assert: !Or [!Equals [!Ref WebAclArn, \"\"], !Equals [!Ref CloudFront, \"on\"]]",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn a_load_balancer_origin_requires_a_domain() {
    let template = read("template.yaml");
    let rule = &template["Rules"]["BalancerHasDomain"];
    assert_eq!(rule["RuleCondition"], list("[CloudFront, 'on']"));
    let assertions = rule["Assertions"].as_vec().unwrap();
    assert_eq!(assertions.len(), 2);
    for (assertion, parameter) in assertions.iter().zip(["CatalogFirst", "CartOrigin"]) {
        assert_eq!(assertion["Assert"], list(&format!("[[{parameter}, api], [[BalancerDomain, '']]]")));
        let expected = format!("{parameter}=balancer needs a BalancerDomain");
        assert_eq!(assertion["AssertDescription"].as_str(), Some(expected.as_str()));
    }
    // The assertions depend on tags, which the parser discards.
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    for parameter in ["CatalogFirst", "CartOrigin"] {
        let assertion = format!(
            "Assert: !Or [!Equals [!Ref {parameter}, api], !Not [!Equals [!Ref BalancerDomain, \"\"]]]"
        );
        assert!(text.contains(&assertion), "{assertion}");
    }
    for condition in ["HasBalancer: !Not [!Equals [", "CatalogFromBalancer: !Equals ["] {
        assert!(text.contains(condition), "{condition}");
    }
}

/// Returns NGINX's configuration before `render`.
fn balancer() -> String {
    std::fs::read_to_string(root().join("deploy/nginx/nginx.conf.template")).unwrap()
}

#[test]
fn the_distribution_times_out_later_than_the_load_balancer() {
    let balancer = balancer();
    let milliseconds = |directive: &str| -> i64 {
        let set = balancer.lines().find_map(|line| line.trim().strip_prefix(directive)?.split(';').next());
        let value = set.unwrap_or_else(|| panic!("no {directive}")).trim();
        let of = |number: &str| number.parse::<i64>().ok();
        let value =
            value.strip_suffix("ms").and_then(of).or_else(|| Some(1000 * of(value.strip_suffix('s')?)?));
        value.unwrap_or_else(|| panic!("{directive} is in another unit"))
    };
    // NGINX can try the last host just before its total time limit.
    let longest = ["proxy_next_upstream_timeout ", "proxy_connect_timeout ", "proxy_read_timeout "];
    let longest: i64 = longest.into_iter().map(milliseconds).sum();
    let distribution = distribution(&["HasBalancer"]);
    let mut origins = distribution["Origins"].as_vec().unwrap().iter();
    let origin = origins.find(|origin| origin["Id"].as_str() == Some("balancer")).unwrap();
    let waits = origin["CustomOriginConfig"]["OriginReadTimeout"].as_i64().unwrap();
    assert!(1000 * waits > longest, "{waits} s, {longest} ms");
}

/// Returns the regular expression that NGINX's map of `Allow` has for a 405 at an endpoint's path. It matches with and
/// without a trailing slash and a query, and with any segment for the parameter.
fn not_allowed_at(endpoint: &Endpoint) -> String {
    assert!(endpoint.path.chars().all(|char| char.is_ascii_alphanumeric() || "/-_{}".contains(char)));
    format!(r"~^405:{}/?(\?|$)", endpoint.path_with("[^/?]+"))
}

#[test]
fn the_load_balancer_sends_allow_for_each_path_that_permits_more_than_reads() {
    let balancer = balancer();
    let (_, map) = balancer.split_once("map $status:$request_uri $problem_allow {").unwrap();
    let (map, _) = map.split_once("\n    }\n").unwrap();
    // NGINX uses the first regular expression that matches.
    let lines: Vec<(&str, &str)> = map
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"~")?.strip_suffix("\";")?.split_once("\" \""))
        .collect();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(*last, ("^405:", ALLOW_GET));
    let output: BTreeSet<(String, &str)> =
        before.iter().map(|(pattern, allow)| (format!("~{pattern}"), *allow)).collect();
    let writing = || atelier_host::ENDPOINTS.iter().filter(|endpoint| endpoint.allow != ALLOW_GET);
    // The pattern of `/cart/{sku_id}` also matches `/cart/lines`, which must precede it.
    let matches = |other: &Endpoint, path: &str| {
        let (before, after) = other.path.split_once('{').unwrap_or((other.path, ""));
        after.ends_with('}') && path.strip_prefix(before).is_some_and(|rest| !rest.contains(['/', '{']))
    };
    let is_hidden = |endpoint: &&&Endpoint| writing().any(|other| matches(other, endpoint.path));
    let hidden =
        || atelier_host::ENDPOINTS.iter().filter(|endpoint| endpoint.allow == ALLOW_GET).filter(is_hidden);
    let entry = |endpoint: &&Endpoint| (not_allowed_at(endpoint), endpoint.allow);
    let expected: BTreeSet<(String, &str)> = writing().chain(hidden()).map(entry).collect();
    assert_eq!(output, expected);
    assert_eq!(before.len(), expected.len(), "the map has a path twice");
    let place = |endpoint: &Endpoint| {
        before.iter().position(|(pattern, _)| format!("~{pattern}") == not_allowed_at(endpoint))
    };
    for endpoint in hidden() {
        let hiding = writing().filter(|other| matches(other, endpoint.path));
        hiding.for_each(|other| assert!(place(endpoint) < place(other), "{}", endpoint.path));
    }
}
