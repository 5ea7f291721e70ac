//! The distribution of template.yaml, which stands before functions and hosts, treats each endpoint as CloudFront lets it
//! and as its answers ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::collections::BTreeSet;

use shared::endpoint::Method;
use stand::functions::endpoints;
use stand::root;
use stand::template::{read, texts};
use yaml_rust2::{Yaml, YamlLoader};

/// A list as a template has it.
fn strings(list: &str) -> Yaml {
    YamlLoader::load_from_str(list).unwrap().remove(0)
}

/// Whether CloudFront takes a path for a pattern, in which `*` stands for anything.
fn is_for(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
    }
}

#[test]
fn the_distribution_passes_each_endpoint_its_methods_and_tries_the_catalog_at_both_origins() {
    let template = read("template.yaml");
    let distribution = &template["Resources"]["Distribution"];
    assert_eq!(distribution["Condition"].as_str(), Some("HasDistribution"));
    assert_eq!(template["Parameters"]["CloudFront"]["Default"].as_str(), Some("off"));
    let distribution = &distribution["Properties"]["DistributionConfig"];
    let groups = distribution["OriginGroups"]["Items"].as_vec().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        let codes = group["FailoverCriteria"]["StatusCodes"]["Items"].as_vec().unwrap().iter();
        assert_eq!(codes.map(|code| code.as_i64().unwrap()).collect::<Vec<_>>(), [500, 502, 503, 504]);
        let members = group["Members"]["Items"].as_vec().unwrap().iter();
        // Whom CloudFront asks first comes first.
        let members: Vec<_> = members.map(|member| member["OriginId"].as_str().unwrap()).collect();
        let expected = match group["Id"].as_str().unwrap() {
            "api-then-balancer" => ["api", "balancer"],
            "balancer-then-api" => ["balancer", "api"],
            other => panic!("a group of another name: {other}"),
        };
        assert_eq!(members, expected);
    }
    // The condition, the group where it holds, the group where it does not.
    let catalog = strings("[CatalogFromBalancer, balancer-then-api, api-then-balancer]");
    assert_eq!(template["Conditions"]["CatalogFromBalancer"], strings("[CatalogFirst, balancer]"));
    assert_eq!(template["Parameters"]["CatalogFirst"]["Default"].as_str(), Some("api"));

    for (path, endpoint) in
        endpoints().flat_map(|endpoint| ["", "/"].map(|end| (endpoint.path.to_owned() + end, endpoint)))
    {
        let mut others = distribution["CacheBehaviors"].as_vec().unwrap().iter();
        let behaviour = others.find(|behaviour| is_for(behaviour["PathPattern"].as_str().unwrap(), &path));
        let behaviour = behaviour.unwrap_or(&distribution["DefaultCacheBehavior"]);
        let (methods, to) = (texts(&behaviour["AllowedMethods"]), &behaviour["TargetOriginId"]);
        let method = if endpoint.method == Method::Post { "POST" } else { "GET" };
        assert!(methods.contains(method), "{path}: {methods:?}");
        if path.starts_with("/cart") {
            // CloudFront refuses a group where POST is allowed, and nothing of a cart may be kept.
            assert_eq!(to.as_str(), Some("CartOrigin"), "{path}");
            let kept = behaviour["CachePolicyId"].as_str();
            assert_eq!(kept, Some("4135ea2d-6df8-44a3-9df3-4b5a84be39ad"), "CachingDisabled: {path}");
        } else {
            assert_eq!(*to, catalog, "{path}");
            assert_eq!(behaviour["CachePolicyId"].as_str(), Some("CatalogCachePolicy"), "{path}");
        }
    }
}

#[test]
fn the_distribution_keeps_answers_by_what_they_vary_by_and_for_as_long_as_they_say() {
    let template = read("template.yaml");
    let policy = &template["Resources"]["CatalogCachePolicy"]["Properties"]["CachePolicyConfig"];
    assert_eq!(policy["MinTTL"].as_i64(), Some(0), "no-store holds");
    assert_eq!(policy["DefaultTTL"].as_i64(), Some(0), "so does saying nothing");
    let key = &policy["ParametersInCacheKeyAndForwardedToOrigin"];
    assert_eq!(key["EnableAcceptEncodingGzip"].as_bool(), Some(true));
    let query = &key["QueryStringsConfig"];
    assert_eq!(query["QueryStringBehavior"].as_str(), Some("whitelist"));
    assert_eq!(texts(&query["QueryStrings"]), BTreeSet::from(["count", "page"]));
    assert_eq!(key["CookiesConfig"]["CookieBehavior"].as_str(), Some("none"));
    assert_eq!(key["HeadersConfig"]["HeaderBehavior"].as_str(), Some("none"));
}

#[test]
fn the_distribution_waits_for_the_balancer_longer_than_that_waits_for_its_hosts() {
    let balancer = std::fs::read_to_string(root().join("deploy/nginx/nginx.conf.template")).unwrap();
    let milliseconds = |directive: &str| -> i64 {
        let set = balancer.lines().find_map(|line| line.trim().strip_prefix(directive)?.split(';').next());
        let value = set.unwrap_or_else(|| panic!("no {directive}")).trim();
        let of = |number: &str| number.parse::<i64>().ok();
        let value =
            value.strip_suffix("ms").and_then(of).or_else(|| Some(1000 * of(value.strip_suffix('s')?)?));
        value.unwrap_or_else(|| panic!("{directive} is in another unit"))
    };
    // The last host that it asks is asked just before the time for that is over.
    let longest = ["proxy_next_upstream_timeout ", "proxy_connect_timeout ", "proxy_read_timeout "];
    let longest: i64 = longest.into_iter().map(milliseconds).sum();
    let template = read("template.yaml");
    let origins = &template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]["Origins"];
    let mut origins = origins.as_vec().unwrap().iter();
    let origin = origins.find(|origin| origin["Id"].as_str() == Some("balancer")).unwrap();
    let waits = origin["CustomOriginConfig"]["OriginReadTimeout"].as_i64().unwrap();
    assert!(1000 * waits > longest, "{waits} s, {longest} ms");
}
