//! A reader of CloudFormation templates. The parser discards tags such as `!Sub` and `!GetAtt`: their values are texts.

use std::collections::{BTreeMap, BTreeSet};

use conformance::lambda::read_template;
use yaml_rust2::Yaml;

use super::root;

/// Returns the template in this file of the repository, with its loops expanded.
pub fn read(path: &str) -> Yaml {
    read_template(&root().join(path))
}

/// Returns a part of the template as CloudFormation resolves it if exactly these conditions hold. The parser discards
/// tags: a list of three that starts with the name of a condition is an `!If`.
pub fn made(template: &Yaml, part: &Yaml, conditions: &[&str]) -> Yaml {
    let made = |part| made(template, part, conditions);
    match part {
        Yaml::Array(items) => match items.as_slice() {
            [Yaml::String(name), then, otherwise] if !template["Conditions"][name.as_str()].is_badvalue() => {
                made(if conditions.contains(&name.as_str()) { then } else { otherwise })
            }
            items => Yaml::Array(items.iter().map(made).filter(|item| !is_no_value(item)).collect()),
        },
        Yaml::Hash(members) => {
            let members = members.iter().map(|(name, member)| (name.clone(), made(member)));
            Yaml::Hash(members.filter(|(_, member)| !is_no_value(member)).collect())
        }
        other => other.clone(),
    }
}

fn is_no_value(value: &Yaml) -> bool {
    value.as_str() == Some("AWS::NoValue")
}

/// Returns the resources of a type, by their names.
pub fn of_type<'a>(template: &'a Yaml, kind: &str) -> BTreeMap<&'a str, &'a Yaml> {
    let resources = template["Resources"].as_hash().unwrap().iter();
    let fitting = resources.filter(|(_, resource)| resource["Type"].as_str() == Some(kind));
    fitting.map(|(name, resource)| (name.as_str().unwrap(), resource)).collect()
}

/// Returns the text, or the texts of a list: policies have both forms.
pub fn texts(value: &Yaml) -> BTreeSet<&str> {
    let list = value.as_vec().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().map(|text| text.as_str().unwrap_or_else(|| panic!("{text:?} in {value:?}"))).collect()
}

/// Returns the alarms of a template. Each must depend on the parameter `Alarms` and notify the topic.
pub fn alarms(template: &Yaml) -> BTreeMap<&str, &Yaml> {
    let alarms = of_type(template, "AWS::CloudWatch::Alarm");
    for (name, alarm) in &alarms {
        let condition = alarm["Condition"].as_str().unwrap();
        assert!(["HasAlarms", "HasDatabaseAlarms"].contains(&condition), "{name}: {condition}");
        assert_eq!(alarm["Properties"]["AlarmActions"][0].as_str(), Some("HasAlarmTopic"), "{name}");
    }
    alarms
}

/// Asserts that no parameter has a pattern that allows any text: scripts and configurations contain the values.
pub fn assert_patterns_are_strict(template: &Yaml) {
    for (name, parameter) in template["Parameters"].as_hash().unwrap() {
        let pattern = parameter["AllowedPattern"].as_str().unwrap_or_default();
        for wide in [".*", ".+", "[^", "\\S", "\\D", "\\W"] {
            let is_email = name.as_str() == Some("AlarmEmail") && wide == "[^";
            assert!(is_email || !pattern.contains(wide), "{name:?}: {pattern}");
        }
    }
}

/// Asserts that the description of the parameter `Alarms` has the number of alarms.
pub fn assert_alarms_are_counted(template: &Yaml, counted: &str) {
    let description = template["Parameters"]["Alarms"]["Description"].as_str().unwrap();
    assert!(description.contains(counted), "{counted} in {description}");
}
