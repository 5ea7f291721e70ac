//! The distribution of template.yaml, which stands before functions and hosts, treats each endpoint as CloudFront lets it
//! and as its answers ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::collections::BTreeSet;

use shared::endpoint::Method;
use stand::functions::endpoints;
use stand::template::{read, texts};

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
    for group in groups {
        let codes = group["FailoverCriteria"]["StatusCodes"]["Items"].as_vec().unwrap().iter();
        assert_eq!(codes.map(|code| code.as_i64().unwrap()).collect::<Vec<_>>(), [500, 502, 503, 504]);
        let members = group["Members"]["Items"].as_vec().unwrap().iter();
        let members: BTreeSet<_> = members.map(|member| member["OriginId"].as_str().unwrap()).collect();
        assert_eq!(members, BTreeSet::from(["api", "balancer"]));
    }
    let groups: BTreeSet<_> = groups.iter().map(|group| group["Id"].as_str().unwrap()).collect();

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
            let to: BTreeSet<_> = texts(to).into_iter().filter(|to| *to != "CatalogFromBalancer").collect();
            assert_eq!(to, groups, "{path}");
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
