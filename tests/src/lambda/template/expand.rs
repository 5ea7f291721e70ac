//! The expansion of `Fn::ForEach`, as the transform AWS::LanguageExtensions does it, for the forms that our templates
//! use.
//!
//! The parser discards tags: `!Ref X` is a text, `!FindInMap [A, B, C]` a list. In the body of a loop, the expansion
//! replaces forms that stand for a text: a reference becomes the name of its resource, and a lookup in `Mappings` the
//! value there.

use yaml_rust2::Yaml;
use yaml_rust2::yaml::Hash;

/// The values of the enclosing loops, by the names of their variables.
type Variables = Vec<(String, String)>;

/// Returns a template with its loops expanded.
pub(super) fn expand(template: &Yaml) -> Yaml {
    let sections = template.as_hash().unwrap().iter().map(|(name, section)| {
        let expanded = match (name.as_str(), section) {
            (Some("Conditions" | "Resources" | "Outputs"), Yaml::Hash(entries)) => {
                let mut expanded = Hash::new();
                add_entries(entries, &Variables::new(), &template["Mappings"], &mut expanded);
                Yaml::Hash(expanded)
            }
            _ => section.clone(),
        };
        (name.clone(), expanded)
    });
    Yaml::Hash(sections.collect())
}

/// Adds the entries of a section, or of a loop's body, to `expanded`.
fn add_entries(entries: &Hash, variables: &Variables, mappings: &Yaml, expanded: &mut Hash) {
    for (name, entry) in entries {
        if name.as_str().is_some_and(|name| name.starts_with("Fn::ForEach::")) {
            let [Yaml::String(variable), Yaml::Array(items), Yaml::Hash(body)] =
                entry.as_vec().unwrap().as_slice()
            else {
                panic!("{name:?} is not a variable, a list and a body: {entry:?}");
            };
            for item in items {
                let mut variables = variables.clone();
                variables.push((variable.clone(), item.as_str().unwrap().to_owned()));
                add_entries(body, &variables, mappings, expanded);
            }
            continue;
        }
        let (name, entry) = if variables.is_empty() {
            (name.clone(), entry.clone())
        } else {
            (substituted(name, variables), simplified(substituted(entry, variables), mappings))
        };
        assert!(expanded.insert(name.clone(), entry).is_none(), "{name:?} is made twice");
    }
}

/// Returns a value in which the loops' values replace `${Variable}`, `&{Variable}` and `!Ref Variable`.
fn substituted(value: &Yaml, variables: &Variables) -> Yaml {
    let text_of = |text: &str| {
        let mut text = text.to_owned();
        for (variable, item) in variables {
            if text == *variable {
                return item.clone();
            }
            let alphanumeric: String = item.chars().filter(char::is_ascii_alphanumeric).collect();
            text = text.replace(&format!("${{{variable}}}"), item);
            text = text.replace(&format!("&{{{variable}}}"), &alphanumeric);
        }
        text
    };
    match value {
        Yaml::String(text) => Yaml::String(text_of(text)),
        Yaml::Array(items) => Yaml::Array(items.iter().map(|item| substituted(item, variables)).collect()),
        Yaml::Hash(members) => {
            let member = |(name, member)| (substituted(name, variables), substituted(member, variables));
            Yaml::Hash(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// Returns a value in which texts replace the forms that stand for texts.
fn simplified(value: Yaml, mappings: &Yaml) -> Yaml {
    match value {
        Yaml::Array(items) => {
            let items: Vec<Yaml> = items.into_iter().map(|item| simplified(item, mappings)).collect();
            text_of_list(&items, mappings).unwrap_or(Yaml::Array(items))
        }
        Yaml::Hash(members) => {
            let member = |(name, member)| (name, simplified(member, mappings));
            let members: Hash = members.into_iter().map(member).collect();
            match members.get(&Yaml::String("Ref".to_owned())) {
                Some(name @ Yaml::String(_)) if members.len() == 1 => name.clone(),
                _ => Yaml::Hash(members),
            }
        }
        other => other,
    }
}

/// Returns the text that a list stands for: a `!FindInMap` that can be resolved, a `!GetAtt` of an ARN, a `!Sub` with
/// values, or a `!Join` of texts.
fn text_of_list(items: &[Yaml], mappings: &Yaml) -> Option<Yaml> {
    match items {
        [Yaml::String(map), Yaml::String(key), Yaml::String(name)] => {
            let found = &mappings[map.as_str()][key.as_str()][name.as_str()];
            (!found.is_badvalue()).then(|| found.clone())
        }
        [Yaml::String(resource), Yaml::String(attribute)] if attribute == "Arn" => {
            Some(Yaml::String(format!("{resource}.Arn")))
        }
        [Yaml::String(text), Yaml::Hash(values)] => {
            let put = |text: String, (name, value): (&Yaml, &Yaml)| {
                Some(text.replace(&format!("${{{}}}", name.as_str()?), value.as_str()?))
            };
            values.iter().try_fold(text.clone(), put).map(Yaml::String)
        }
        [Yaml::String(separator), Yaml::Array(parts)] => {
            let parts: Option<Vec<&str>> = parts.iter().map(Yaml::as_str).collect();
            Some(Yaml::String(parts?.join(separator)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use yaml_rust2::YamlLoader;

    use super::*;

    fn parsed(text: &str) -> Yaml {
        YamlLoader::load_from_str(text).unwrap().remove(0)
    }

    #[test]
    fn a_loop_repeats_its_body_for_each_item() {
        let template = parsed(
            r#"
Mappings:
  Pets: { Cat: { Says: meow }, Dog: { Says: woof } }
Resources:
  Vet: { Type: Vet, Says: !FindInMap [Pets, Cat, Says] }
  Fn::ForEach::Pets:
    - Pet
    - [Cat, Dog]
    - ${Pet}:
        Type: Animal
        Kind: !Ref Pet
        Says: !FindInMap [Pets, !Ref Pet, Says]
        Of: !FindInMap [Pets, !Ref Owner, Says]
        Role: !GetAtt [!Sub "${Pet}Role", Arn]
        Log: { Group: { Ref: !Sub "${Pet}Log" } }
        Name: !Sub ["${AWS::StackName}-${Says}", { Says: !FindInMap [Pets, !Ref Pet, Says] }]
        Path: !Join [/, [pets, { Ref: !Sub "${Pet}Path" }]]
"#,
        );
        let expected = parsed(
            r#"
Mappings:
  Pets: { Cat: { Says: meow }, Dog: { Says: woof } }
Resources:
  Vet: { Type: Vet, Says: [Pets, Cat, Says] }
  Cat:
    Type: Animal
    Kind: Cat
    Says: meow
    Of: [Pets, Owner, Says]
    Role: CatRole.Arn
    Log: { Group: CatLog }
    Name: ${AWS::StackName}-meow
    Path: pets/CatPath
  Dog:
    Type: Animal
    Kind: Dog
    Says: woof
    Of: [Pets, Owner, Says]
    Role: DogRole.Arn
    Log: { Group: DogLog }
    Name: ${AWS::StackName}-woof
    Path: pets/DogPath
"#,
        );
        assert_eq!(expand(&template), expected);
    }

    #[test]
    fn nested_loops_strip_characters_that_names_cannot_have() {
        let template = parsed(
            r#"
Outputs:
  Fn::ForEach::Tiers:
    - Tier
    - [host, proxy]
    - Fn::ForEach::Zones:
        - Zone
        - [a-1, b-2]
        - ${Tier}&{Zone}: { Value: "${Tier} in ${Zone}" }
"#,
        );
        let expected = parsed(
            r#"
Outputs:
  hosta1: { Value: host in a-1 }
  hostb2: { Value: host in b-2 }
  proxya1: { Value: proxy in a-1 }
  proxyb2: { Value: proxy in b-2 }
"#,
        );
        assert_eq!(expand(&template), expected);
    }

    #[test]
    #[should_panic(expected = "is made twice")]
    fn a_repeated_name_panics() {
        expand(&parsed("Resources: { A: {}, 'Fn::ForEach::X': [X, [A], { '${X}': {} }] }"));
    }
}
