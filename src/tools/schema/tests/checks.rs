//! What fits a schema and what does not, and what schemas are taken.

use super::*;

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_by_place() {
    let schema = json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"type": "integer", "maximum": 7}}
    });
    assert_eq!(checked(&schema, json!({"city": "Kyiv", "days": 3})).await, Ok(()));
    let told = checked(&schema, json!({"city": "kyiv", "days": 30, "x": 1})).await;
    let told = told.expect_err("three mistakes");
    assert!(
        told.contains("/city") && told.contains("/days") && told.contains("'x'"),
        "{told}"
    );
    assert!(checked(&schema, json!([])).await.is_err());
}

#[tokio::test]
async fn what_is_no_schema_or_reaches_outside_is_refused() {
    let patterns: Map<String, Value> = (0..33).map(|index| (format!("p{index}"), json!(true))).collect();
    let hidden: Vec<Value> = (0..33).map(|index| json!({"pattern": format!("^{index}")})).collect();
    for (schema, why) in [
        (json!([]), "object"),
        (json!({"type": "objekt"}), "objekt"),
        (json!({"$ref": "https://example.com/schema.json"}), "pointer within"),
        (json!({"$ref": "file:///etc/passwd"}), "pointer within"),
        (json!({"items": {"$ref": "#name"}}), "pointer within"),
        (json!({"$ref": "#/$defs/nobody"}), "leads to nothing"),
        (json!({"$ref": "#/x", "x": 7}), "object, true or false"),
        (json!({"$ref": "#/x", "x": {"type": "objekt"}}), "objekt"),
        (json!({"properties": {"x": {"pattern": "(?<=a)b"}}}), "regex"),
        (
            json!({"properties": {"x": {"pattern": "(?i)([\\p{L}\\p{N}]{1,60}-){3}"}}}),
            "regex",
        ),
        (json!({"patternProperties": patterns}), "at most 32 patterns"),
        (json!({"$ref": "#/x", "x": {"allOf": hidden}}), "at most 32 patterns"),
        (json!({"$defs": {"x": {"$id": "https://example.com/x"}}}), "$id"),
        (
            json!({"$ref": "#/x", "x": {"not": {"$id": "https://example.com/x"}}}),
            "$id",
        ),
        (json!({"anyOf": [{"$dynamicRef": "#x"}]}), "$dynamicRef"),
        (json!({"$recursiveRef": "#"}), "$recursiveRef"),
        (
            json!({"$ref": "#/x", "x": {"allOf": [{"$dynamicRef": "#/$defs/d"}]}, "$defs": {"d": {}}}),
            "$dynamicRef",
        ),
        (
            json!({"dependencies": {"a": {"$dynamicRef": "#/$defs/d"}}, "$defs": {"d": {}}}),
            "$dynamicRef",
        ),
    ] {
        let refused = check_of(&schema).err();
        assert!(
            refused.as_ref().is_some_and(|told| told.contains(why)),
            "{schema}: {refused:?}"
        );
    }
    // What stands where no schema does is none.
    let harmless = json!({"$id": "https://example.com/x", "properties": {"$ref": {"const": {"$dynamicRef": 1}}}});
    assert_eq!(checked(&harmless, json!({"$ref": {"$dynamicRef": 1}})).await, Ok(()));
    assert!(checked(&harmless, json!({"$ref": 1})).await.is_err());
}

/// Schemas as they are in use: each with arguments that fit and some that do not.
#[tokio::test]
async fn keywords_mean_what_they_mean_wherever_a_schema_stands() {
    let elsewhere = json!({
        "components": {"schemas": {"Pet": {"required": ["name"], "properties": {"mate": {"$ref": "#/components/schemas/Pet"}}}}},
        "properties": {"pet": {"$ref": "#/components/schemas/Pet"}}
    });
    let by_place = json!({
        "properties": {"from": {"type": "string"}, "to": {"$ref": "#/properties/from"}, "a/b %": {"$ref": "#/properties/to"}},
        "propertyNames": {"maxLength": 5}
    });
    let by_written_place = json!({"properties": {"a/b": {"type": "string"}, "c": {"$ref": "#/properties/a~1b"}, "d": {"$ref": "#/properties/%63"}}});
    let tree = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
    let old = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/a", "additionalItems": false,
        "definitions": {"a": {"dependencies": {"card": ["name"], "cash": {"required": ["till"]}}}}
    });
    let evaluated = json!({
        "allOf": [{"$ref": "#/$defs/named"}], "properties": {"age": true}, "unevaluatedProperties": false,
        "$defs": {"named": {"properties": {"name": {"type": "string"}}}}
    });
    let lists = json!({
        "properties": {"row": {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}, "contains": {"const": 7}, "minContains": 2, "uniqueItems": false}}
    });
    let choices = json!({
        "if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]},
        "oneOf": [{"required": ["x"]}, {"required": ["y"]}], "not": {"required": ["z"]}, "minProperties": 2,
        "dependentRequired": {"y": ["w"]}, "dependentSchemas": {"w": {"properties": {"w": {"multipleOf": 3}}}},
        "patternProperties": {"^n": {"exclusiveMinimum": 0}}
    });
    for (schema, good, bad) in [
        (
            &elsewhere,
            json!({"pet": {"name": 1, "mate": {"name": 2}}}),
            json!({"pet": {"name": 1, "mate": {}}}),
        ),
        (
            &by_place,
            json!({"from": "a", "to": "b", "a/b %": "c"}),
            json!({"a/b %": 1}),
        ),
        (&by_place, json!({"other": 1}), json!({"others": 1})),
        (&by_written_place, json!({"c": "x"}), json!({"c": 1})),
        (&by_written_place, json!({"d": "x"}), json!({"d": 1})),
        (
            &tree,
            json!({"children": [{"children": []}]}),
            json!({"children": [{"children": [1]}]}),
        ),
        (&old, json!({"card": 1, "name": 2}), json!({"card": 1})),
        (&old, json!({"cash": 1, "till": 2}), json!({"cash": 1})),
        (
            &evaluated,
            json!({"name": "x", "age": 1}),
            json!({"name": "x", "years": 1}),
        ),
        (&evaluated, json!({"name": "x"}), json!({"name": 1})),
        (&lists, json!({"row": ["a", 7, 7]}), json!({"row": ["a", 7, 8]})),
        (&lists, json!({"row": ["a", 7, 7]}), json!({"row": ["a", 7, 7, "7"]})),
        (
            &choices,
            json!({"kind": "a", "x": 1}),
            json!({"kind": "a", "y": 1, "w": 3}),
        ),
        (
            &choices,
            json!({"kind": "b", "y": 1, "w": 3}),
            json!({"kind": "b", "y": 1, "w": 4}),
        ),
        (
            &choices,
            json!({"kind": "b", "y": 1, "w": 3}),
            json!({"kind": "b", "y": 1}),
        ),
        (
            &choices,
            json!({"kind": "a", "x": 1}),
            json!({"kind": "a", "x": 1, "z": 1}),
        ),
        (
            &choices,
            json!({"kind": "a", "x": 1, "n": 1}),
            json!({"kind": "a", "x": 1, "n": 0}),
        ),
    ] {
        assert_eq!(checked(schema, good.clone()).await, Ok(()), "{schema}: {good}");
        let told = checked(schema, bad.clone()).await;
        assert!(
            told.as_ref().is_err_and(|told| told.contains("wrong arguments")),
            "{schema}: {bad}: {told:?}"
        );
    }
}

#[tokio::test]
async fn what_is_written_is_read_and_nothing_is_no_arguments() {
    let check = check_of(&json!({"type": "object"})).expect("a schema");
    assert_eq!(check.read(String::new()).await, Ok(json!({})));
    assert_eq!(check.read(" \n".to_owned()).await, Ok(json!({})));
    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(2 * SHORT_TEXT));
    assert!(check.read(long.clone()).await.is_ok());
    for text in ["{".to_owned(), long[1..].to_owned()] {
        let told = check.read(text).await.expect_err("no JSON");
        assert!(told.starts_with("the arguments are not JSON"), "{told}");
    }
}

#[tokio::test]
async fn many_arguments_are_checked_too() {
    let schema =
        json!({"properties": {"rows": {"items": {"type": "object", "properties": {"n": {"type": "integer"}}}}}});
    let mut rows = vec![json!({"n": 1}); 20_000];
    assert_eq!(checked(&schema, json!({"rows": rows})).await, Ok(()));
    rows.push(json!({"n": "one"}));
    let told = checked(&schema, json!({"rows": rows})).await.expect_err("a mistake");
    assert!(told.contains("/rows/20000/n"), "{told}");
}

#[tokio::test]
async fn of_many_wrong_arguments_the_first_is_told() {
    let texts = json!({"items": {"type": "string"}});
    let choice = json!({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]});
    let of = |schema: &Value| json!({"properties": {"x": schema}});
    let (few, many) = (json!({"x": vec![0; 20]}), json!({"x": vec![0; 300_000]}));

    let told = checked(&of(&texts), few.clone()).await.expect_err("twenty mistakes");
    assert_eq!(told.matches("is not of type").count(), 5, "{told}");
    let told = checked(&of(&texts), many.clone()).await.expect_err("many mistakes");
    assert_eq!(told, "wrong arguments: /x/0: 0 is not of type \"string\"");

    // Why no choice fits is gathered by the validator before it says so.
    let told = checked(&of(&choice), few.clone()).await.expect_err("no choice fits");
    assert!(told.contains("/x: ") && told.contains("anyOf"), "{told}");
    let told = checked(&of(&choice), many.clone()).await.expect_err("no choice fits");
    assert!(told.contains("too many to say where"), "{told}");
    // Many that have a choice each are another thing.
    let each = of(&json!({"items": {"oneOf": [{"type": "string"}, {"type": "null"}]}}));
    let told = checked(&each, many.clone()).await.expect_err("no choice fits");
    assert!(told.contains("/x/0: 0 is not valid under any"), "{told}");

    // No more mistakes are gathered than there are steps for them.
    for (schema, arguments, telling) in [
        (of(&texts), &few, Telling::First),
        (of(&texts), &many, Telling::One),
        (of(&choice), &few, Telling::First),
        (of(&choice), &many, Telling::None),
        (each, &many, Telling::One),
        (json!({"not": {"anyOf": [of(&texts)]}}), &many, Telling::None),
        (
            json!({"required": (0..20_000).map(|name| name.to_string()).collect::<Vec<_>>()}),
            &few,
            Telling::One,
        ),
    ] {
        let compiled = CompiledSchema::of(&schema).expect("a schema");
        let steps = compiled.outline.steps_within(arguments, u64::MAX).expect("no bound");
        assert_eq!(Telling::of(steps), telling, "{steps:?}");
    }
}
