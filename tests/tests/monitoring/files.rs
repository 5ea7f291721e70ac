//! Dashboard, alert rules, their unit tests and docs/operations.md agree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::root;

/// The page of the runbooks, and its section with those of the alert rules.
const PAGE: &str = "docs/operations.md";
const SECTION: &str = "\n## Alarms of Prometheus\n";

pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn yaml(path: &str) -> Yaml {
    YamlLoader::load_from_str(&file(path)).unwrap().remove(0)
}

/// Returns the alert rules by their names.
pub(crate) fn alarms() -> BTreeMap<String, Yaml> {
    let rules = yaml("deploy/monitoring/alerts.yml");
    let groups = rules["groups"].as_vec().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_vec().unwrap().clone());
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule)).collect()
}

/// Returns the panels of the dashboard, without its rows.
pub(crate) fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&file("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

pub(crate) fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap()
}

/// Returns the queries of a panel as in the dashboard.
pub(crate) fn queries(panel: &Value) -> Vec<&str> {
    panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap()).collect()
}

/// Returns the runbooks of the page: their text by their anchor.
fn runbooks(page: &str) -> BTreeMap<String, &str> {
    let (_, section) = page.split_once(SECTION).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let runbooks = section.split("\n### ").skip(1).map(|part| part.split_once('\n').unwrap());
    let anchor = |heading: &str| heading.to_lowercase().replace(':', "").replace(' ', "-");
    runbooks.map(|(heading, text)| (anchor(heading), text)).collect()
}

/// Returns the texts between single asterisks, which are the titles of graphs.
fn graphs(runbook: &str) -> BTreeSet<String> {
    let plain = runbook.replace("**", "");
    plain
        .split('*')
        .skip(1)
        .step_by(2)
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Asserts that an annotation `runbook` leads to a section of the page that names graphs of the dashboard.
pub(crate) fn assert_runbook(alarm: &str, runbook: &str, severity: &str) {
    let page = file(PAGE);
    let (path, anchor) = runbook.split_once('#').unwrap_or_else(|| panic!("{alarm}: no anchor in {runbook}"));
    assert_eq!(path, PAGE, "{alarm}");
    let runbooks = runbooks(&page);
    let text = runbooks.get(anchor).unwrap_or_else(|| panic!("{alarm}: {PAGE} has no section #{anchor}"));
    assert!(text.trim_start().to_lowercase().starts_with(&format!("**{severity}.**")), "{alarm}: {text}");
    for part in ["**Clients see**: ", "**Check**: ", "**Fix**: "] {
        assert!(text.contains(part), "{alarm}: no {part}in {text}");
    }
    let titles: BTreeSet<String> = panels().iter().map(|panel| title(panel).to_owned()).collect();
    let graphs = graphs(text);
    assert!(!graphs.is_empty(), "{alarm}: its runbook names no graph");
    assert!(graphs.is_subset(&titles), "{alarm}: {graphs:?} are not all in {titles:?}");
}

#[test]
fn each_alarm_has_a_severity_texts_and_a_runbook_that_names_its_graph() {
    let alarms = alarms();
    let mut anchors = BTreeSet::new();
    for (name, rule) in &alarms {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        for annotation in ["summary", "description"] {
            assert!(
                !rule["annotations"][annotation].as_str().unwrap_or_default().is_empty(),
                "{name}: {annotation}"
            );
        }
        let runbook = rule["annotations"]["runbook"].as_str().unwrap();
        assert_runbook(name, runbook, severity);
        assert!(anchors.insert(runbook.to_owned()), "{name}: {runbook} is of two alarms");
    }
    let page = file(PAGE);
    let sections: BTreeSet<String> =
        runbooks(&page).keys().map(|anchor| format!("{PAGE}#{anchor}")).collect();
    assert_eq!(anchors, sections, "each runbook is of an alarm");
}

#[test]
fn each_alarm_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests = yaml("deploy/monitoring/alerts.test.yml");
    let (mut fires, mut stays_off) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_vec().unwrap() {
        for check in test["alert_rule_test"].as_vec().unwrap() {
            let name = check["alertname"].as_str().unwrap().to_owned();
            let is_expected = check["exp_alerts"].as_vec().is_some_and(|expected| !expected.is_empty());
            let names = if is_expected { &mut fires } else { &mut stays_off };
            names.insert(name);
        }
    }
    let alarms: BTreeSet<String> = alarms().into_keys().collect();
    assert_eq!((&fires, &stays_off), (&alarms, &alarms));
}

#[test]
fn each_panel_has_its_own_title_a_description_a_unit_and_legends() {
    let (panels, alarms) = (panels(), alarms());
    let (mut titles, mut ids, mut described) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in &panels {
        let title = title(panel);
        assert!(titles.insert(title), "two panels are called {title}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is of two panels");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{title}: no description");
        for name in
            description.rsplit_once("Alarm").map_or("", |(_, names)| names).split([' ', ',', '.', ':'])
        {
            if name.len() > 1 {
                assert!(alarms.contains_key(name), "{title}: there is no alarm {name}");
                described.insert(name.to_owned());
            }
        }
        if panel["type"] == "table" {
            continue;
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        for target in panel["targets"].as_array().unwrap() {
            assert_ne!(target["legendFormat"].as_str().unwrap_or_default(), "", "{title}: no legend");
        }
    }
    assert_eq!(described, alarms.into_keys().collect(), "each alarm is in the description of a panel");
}
