//! However schemas and arguments are, no check takes long.

use super::*;

#[tokio::test]
async fn a_pattern_cannot_make_it_think_for_ever() {
    let schema = json!({"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}});
    let text = format!("{}b", "a".repeat(100_000));
    let told = checked(&schema, json!({"x": text})).await.expect_err("it ends with b");
    assert!(told.contains("/x: "), "{told}");
    assert!(told.len() < 1_000, "{} bytes", told.len());
    // A large machine, whose states are too many to be kept: ten microseconds for a byte.
    let slow = json!({"properties": {"x": {"pattern": "(a|b)*a(a|b){500}c"}}});
    assert_eq!(
        checked(&slow, json!({"x": "ab".repeat(2)}))
            .await
            .err()
            .map(|told| told.contains("/x")),
        Some(true)
    );
    let told = checked(&slow, json!({"x": "ab".repeat(50_000)}))
        .await
        .expect_err("a second");
    assert!(told.contains("too long"), "{told}");
}

#[test]
fn patterns_cost_what_their_size_can_make_them_cost() {
    let of = |pattern: &str, text: usize| {
        let schema = json!({"pattern": pattern});
        steps_within(&schema, &json!("a".repeat(text)), u64::MAX).expect("no bound")
    };
    // One that people write, through a text of any length, costs no more than each check may.
    assert!(of("^https?://", 1_000_000) < MOST_STEPS_OF_A_VALUE * 1_000_000 / 16 + MOST_STEPS);
    assert!(of(r"^[\s\S]+$", 1_000_000) <= MOST_STEPS_OF_A_VALUE * 1_000_000 / 16 + MOST_STEPS);
    assert!(of(r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", 30) < FEW_STEPS);
    assert!(of("(a|b)*a(a|b){500}c", 30) > FEW_STEPS);
    // So does one that looks at names.
    let names = |schema: Value, length: usize| {
        steps_within(&schema, &json!({"n".repeat(length): 1}), u64::MAX).expect("no bound")
    };
    for schema in [
        json!({"propertyNames": {"pattern": "^[a-z]+$"}}),
        json!({"patternProperties": {"^[a-z]+$": true}}),
    ] {
        assert!(names(schema.clone(), 10) < 100, "{schema}");
        assert!(names(schema.clone(), 1_000_000) > 100 * FEW_STEPS, "{schema}");
    }
}

#[tokio::test]
async fn references_cannot_make_it_think_for_ever() {
    let twice = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"a": deep});
    }
    let mut schemas = vec![(twice.clone(), deep)];
    assert_eq!(checked(&twice, json!({"a": {"a": {}}})).await, Ok(()));
    // 2^40 steps, by each of the ways that lead to a schema.
    let (defs, first) = (doubling(40), json!({"$ref": "#/$defs/d0"}));
    for schema in [
        json!({"properties": {"a": first}, "$defs": defs}),
        json!({"dependencies": {"a": first}, "$defs": defs}),
        json!({"dependentSchemas": {"a": first}, "$defs": defs}),
        json!({"$ref": "#/x", "x": {"properties": {"a": first}}, "$defs": defs}),
        json!({"$ref": "#/x/y/0", "x": {"y": [{"dependencies": {"a": first}}]}, "$defs": defs}),
        json!({"properties": {"b": {"const": 1, "y": first}, "a": {"$ref": "#/properties/b/y"}}, "$defs": defs}),
        json!({"propertyNames": first, "$defs": defs}),
        json!({"patternProperties": {"a": first}, "$defs": defs}),
        json!({"additionalProperties": first, "$defs": defs}),
        json!({"unevaluatedProperties": first, "$defs": defs}),
        json!({"if": true, "then": first, "$defs": defs}),
        json!({"not": {"not": first}, "definitions": {"x": true}, "$defs": defs}),
    ] {
        for value in [json!(1), json!("text")] {
            schemas.push((schema.clone(), json!({"a": value})));
        }
    }
    for (schema, arguments) in schemas {
        let told = checked(&schema, arguments).await.expect_err("2^40 steps");
        assert!(told.contains("too long"), "{schema}: {told}");
    }
    // Some levels of it are no harm.
    let few = json!({"dependencies": {"a": {"$ref": "#/$defs/d0"}}, "$defs": doubling(5)});
    let told = checked(&few, json!({"a": 1})).await.expect_err("32 mistakes");
    assert_eq!(told.matches("is not of type").count(), 5, "{told}");
}

#[test]
fn references_that_branch_are_too_much_before_anything_is_checked() {
    let of = |levels| json!({"$ref": "#/$defs/d0", "$defs": doubling(levels)});
    assert!(steps_within(&of(5), &json!({}), 2_000).is_ok());
    assert_eq!(steps_within(&of(60), &json!({}), 1_000_000), Err(TooMuch));
    // One that only goes round.
    assert_eq!(steps_within(&json!({"$ref": "#"}), &json!({}), 1_000_000), Err(TooMuch));
}

#[test]
fn what_is_evaluated_is_found_out_at_its_price() {
    // Each level is asked for what fits, and again for what it has looked at: 2.6 times the work of the level below.
    let mut schema = json!({"properties": {"a": true}});
    for _ in 0..16 {
        schema = json!({"allOf": [schema], "unevaluatedProperties": false});
    }
    assert_eq!(steps_within(&schema, &json!({"a": 1}), 4_000_000), Err(TooMuch));
    let usual = json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false});
    assert!(steps_within(&usual, &json!({"a": 1}), 50).is_ok());
}

#[test]
fn no_schema_takes_for_ever_to_be_made_ready() {
    // Every way through it is taken apart once more for `unevaluatedProperties`: 2^60 of them, or as many as there are ways round in a circle.
    let unevaluated = json!({"$ref": "#/$defs/d0", "unevaluatedProperties": {"type": "integer"}});
    let with = |mut schema: Value, defs: Map<String, Value>| {
        schema["$defs"] = defs.into();
        schema
    };
    let circles = (0..20).map(|index| {
        let others: Vec<Value> = (0..20)
            .map(|other| json!({"$ref": format!("#/$defs/d{other}")}))
            .collect();
        (format!("d{index}"), json!({"anyOf": others}))
    });
    let mut chain: Map<String, Value> = (0..2_000)
        .map(|index| (format!("d{index}"), json!({"$ref": format!("#/$defs/d{}", index + 1)})))
        .collect();
    chain.insert("d2000".to_owned(), json!({"type": "object"}));
    let many: Map<String, Value> = (0..1_000).map(|index| (format!("p{index}"), json!({}))).collect();
    let repeated = json!({"allOf": vec![json!({"$ref": "#/$defs/d"}); 1_000], "unevaluatedItems": false});
    for schema in [
        with(unevaluated.clone(), doubling(60)),
        with(json!({"items": unevaluated}), doubling(60)),
        with(unevaluated.clone(), circles.collect()),
        with(unevaluated.clone(), chain.clone()),
        with(
            repeated,
            Map::from_iter([("d".to_owned(), json!({"additionalProperties": {"properties": many}}))]),
        ),
    ] {
        let refused = CompiledSchema::of(&schema).err();
        assert!(
            refused
                .as_ref()
                .is_some_and(|told| told.contains("too much to look at")),
            "{refused:?}"
        );
    }
    // Without it nothing of that is done.
    for defs in [doubling(60), chain] {
        let schema = with(json!({"$ref": "#/$defs/d0"}), defs);
        assert_eq!(
            CompiledSchema::of(&schema).map(|compiled| compiled.outline.taken_apart),
            Ok(0)
        );
    }
    assert!(CompiledSchema::of(&with(unevaluated, doubling(5))).is_ok());
}

#[test]
fn numbers_are_divided_at_their_price() {
    let of = |by: f64, number: f64| {
        let schema = json!({"items": {"multipleOf": by}});
        steps_within(&schema, &json!(vec![number; 1_000]), u64::MAX).expect("no bound")
    };
    assert!(of(0.01, 19.99) < 20_000);
    assert!(of(5.0, 1e300) < 5_000);
    assert!(of(0.01, 1e300) > 200_000);
}

#[test]
fn counting_costs_no_more_than_is_counted() {
    // Definitions that nobody uses are not gone through again and again.
    let defs: Map<String, Value> = (0..8_000).map(|index| (format!("d{index}"), json!({}))).collect();
    let unused = json!({"items": {"$ref": "#"}, "$defs": defs});
    let list = json!(vec![json!([]); 1_000]);
    assert!(steps_within(&unused, &list, 10_000).is_ok());
    let compiled = CompiledSchema::of(&unused).expect("a schema");
    assert_eq!(compiled.outline.schemas[0].parts.len(), 1);
    // What is gone through is counted, whether it is there or not.
    let required: Vec<String> = (0..8_000).map(|index| format!("d{index}")).collect();
    let objects = json!(vec![json!({}); 1_000]);
    for schema in [
        json!({"items": {"properties": defs}}),
        json!({"items": {"required": required}}),
        json!({"items": {"enum": required}}),
        json!({"items": {"dependentRequired": {"a": required}}}),
        json!({"items": {"dependencies": {"a": required}}}),
        json!({"items": {"anyOf": vec![json!(true); 8_000]}}),
    ] {
        assert_eq!(steps_within(&schema, &objects, 1_000_000), Err(TooMuch));
    }
    // Unique items are compared as deep as they go.
    let deep = json!([vec![1; 1_000], vec![1; 1_000], vec![1; 1_000]]);
    assert_eq!(steps_within(&json!({"uniqueItems": true}), &deep, 3_000), Err(TooMuch));
    assert!(steps_within(&json!({"uniqueItems": false}), &deep, 3).is_ok());
}

#[test]
fn schemas_that_people_write_take_few_steps() {
    let tree = json!({
        "type": "object", "$defs": {"node": {"type": "object", "properties": {
            "value": {"type": "number"}, "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}
        }}},
        "properties": {"root": {"$ref": "#/$defs/node"}, "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}}}
    });
    let mut node = json!({"value": 1});
    for value in 0..40 {
        node = json!({"value": value, "left": node, "right": {"value": 2}});
    }
    let arguments = json!({"root": node, "tags": vec!["tag"; 50]});
    assert!(steps_within(&tree, &arguments, 2_500).is_ok());
    let compiled = CompiledSchema::of(&tree).expect("a schema");
    assert_eq!(compiled.outline.patterns, 1);
    assert_eq!(values_in(&json!({"a": [1, 2, {}, "a".repeat(32)]})), 8);
}
