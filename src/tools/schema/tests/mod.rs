mod checks;
mod costs;

use serde_json::{Map, json};
use tokio::runtime::Handle;

use super::steps::TooMuch;
use super::*;

fn check_of(schema: &Value) -> Result<Arc<dyn ArgumentCheck>, String> {
    Ok(CompiledSchema::of(schema)?.check_on(&BlockingPool::new(Handle::current(), 2)))
}

async fn checked(schema: &Value, arguments: Value) -> Result<(), String> {
    let read = check_of(schema).expect("a schema").read(arguments.to_string()).await?;
    assert_eq!(read, arguments);
    Ok(())
}

fn steps_within(schema: &Value, arguments: &Value, most: u64) -> Result<u64, TooMuch> {
    let compiled = CompiledSchema::of(schema).expect("a schema");
    Ok(compiled.outline.steps_within(arguments, most)?.all)
}

/// Each of so many definitions refers to the next one twice. The last takes texts.
fn doubling(levels: usize) -> Map<String, Value> {
    let mut kept = Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        kept.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    kept.insert(format!("d{levels}"), json!({"type": "string"}));
    kept
}
