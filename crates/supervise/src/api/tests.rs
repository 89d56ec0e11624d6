use std::collections::BTreeSet;

use super::OPENAPI;
use super::request::decode;
use super::routes::ROUTES;

fn description() -> serde_json::Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_description_has_the_routes_that_there_are_with_their_parameters() {
    let description = description();
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let names: BTreeSet<String> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let in_path = parameters.iter().any(|parameter| parameter["in"] == "path");
            assert_eq!(in_path, path.contains("{id}"), "{path}");
            described.insert((method.to_uppercase(), path.clone(), names));
        }
    }
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, _, query)| {
            let query = query.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
            ((*method).to_owned(), (*path).to_owned(), query)
        })
        .collect();
    assert_eq!(described, routes);
}

#[test]
fn the_body_of_a_creation_has_the_keys_of_the_file() {
    let keys = |value: &serde_json::Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../../docs/agent-spec.schema.json")).unwrap();
    let mut of_file = keys(&schema["$defs"]["container"]["properties"]);
    assert!(of_file.remove("depends_on"));
    assert!(of_file.insert("name".to_owned()));
    assert_eq!(keys(&description()["components"]["schemas"]["Create"]["properties"]), of_file);
}

#[test]
fn every_schema_of_the_description_is_one() {
    let description = description();
    for name in description["components"]["schemas"].as_object().unwrap().keys() {
        let schema = serde_json::json!({
            "$ref": format!("#/components/schemas/{name}"),
            "components": description["components"],
        });
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn what_is_coded_in_an_address_is_read() {
    assert_eq!(decode("a%2Fb+c").as_deref(), Some("a/b c"));
    assert_eq!(decode("plain-1_2.3").as_deref(), Some("plain-1_2.3"));
    for bad in ["%", "%2", "%zz", "%ff", "%+1", "a%"] {
        assert_eq!(decode(bad), None, "{bad}");
    }
}
