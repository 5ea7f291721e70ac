//! Reading CloudFormation's templates. Tags such as `!Sub` and `!GetAtt` are not part of what the parser tells: their
//! values are texts.

use std::collections::{BTreeMap, BTreeSet};

use conformance::lambda::read_template;
use yaml_rust2::Yaml;

use super::root;

/// The template in this file of the project, with what its loops make in place of the loops.
pub fn read(path: &str) -> Yaml {
    read_template(&root().join(path))
}

/// The resources of a type, by their names.
pub fn of_type<'a>(template: &'a Yaml, kind: &str) -> BTreeMap<&'a str, &'a Yaml> {
    let resources = template["Resources"].as_hash().unwrap().iter();
    let fitting = resources.filter(|(_, resource)| resource["Type"].as_str() == Some(kind));
    fitting.map(|(name, resource)| (name.as_str().unwrap(), resource)).collect()
}

/// A text, or the texts of a list: policies have both.
pub fn texts(value: &Yaml) -> BTreeSet<&str> {
    let list = value.as_vec().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().map(|text| text.as_str().unwrap_or_else(|| panic!("{text:?} in {value:?}"))).collect()
}

/// The alarms of a template, each of which is there only if the parameter `Alarms` says so, and tells the topic.
pub fn alarms(template: &Yaml) -> BTreeMap<&str, &Yaml> {
    let alarms = of_type(template, "AWS::CloudWatch::Alarm");
    for (name, alarm) in &alarms {
        assert_eq!(alarm["Condition"].as_str(), Some("HasAlarms"), "{name}");
        assert_eq!(alarm["Properties"]["AlarmActions"][0].as_str(), Some("HasAlarmTopic"), "{name}");
    }
    alarms
}

/// Asserts that the parameter `Alarms` says how many alarms there are.
pub fn assert_alarms_are_counted(template: &Yaml, counted: &str) {
    let description = template["Parameters"]["Alarms"]["Description"].as_str().unwrap();
    assert!(description.contains(counted), "{counted} in {description}");
}
