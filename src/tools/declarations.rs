//! Declared tools, taken apart once: a run's tools are checked when it is posted and opened at each of its starts, on threads that have
//! better things to do than to compile schemas.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::tool_use::HttpTool;
use moka::sync::Cache;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::http_tool::{FieldProblem, HttpDeclaration};
use super::schema::CompiledSchema;

/// A declaration as it is written, in 32 bytes.
type Key = [u8; 32];

/// What was made of a declaration, and the bytes of memory that it may take.
#[derive(Clone)]
struct Kept<T>(T, u32);

/// Schemas and HTTP tools by how they are written. Nothing of an account is in them: the same text is the same thing for all.
pub(super) struct Declarations {
    schemas: Cache<Key, Kept<Arc<CompiledSchema>>>,
    http_tools: Cache<Key, Kept<Arc<HttpDeclaration>>>,
    longest_call: Duration,
}

impl Declarations {
    /// Keeps those that take so many bytes of memory, by a generous guess: the ones that were used last. No call takes longer than `longest_call`.
    pub(super) fn new(max_bytes: usize, longest_call: Duration) -> Self {
        Self {
            schemas: cache(max_bytes / 2),
            http_tools: cache(max_bytes / 2),
            longest_call,
        }
    }

    /// This schema, if it is kept.
    pub(super) fn known_schema(&self, schema: &Value) -> Option<Arc<CompiledSchema>> {
        let (key, _) = key_of(schema)?;
        self.schemas.get(&key).map(|Kept(compiled, _)| compiled)
    }

    /// An HTTP tool, if it is kept.
    pub(super) fn known_http_tool(&self, tool: &HttpTool) -> Option<Arc<HttpDeclaration>> {
        let (key, _) = key_of(tool)?;
        self.http_tools.get(&key).map(|Kept(declaration, _)| declaration)
    }

    /// This schema. Takes a while if it is not kept.
    pub(super) fn schema(&self, schema: &Value) -> Result<Arc<CompiledSchema>, String> {
        let Some((key, length)) = key_of(schema) else {
            return CompiledSchema::of(schema);
        };
        if let Some(Kept(compiled, _)) = self.schemas.get(&key) {
            return Ok(compiled);
        }
        let compiled = CompiledSchema::of(schema)?;
        let weight = weight(&compiled, length);
        self.schemas.insert(key, Kept(compiled.clone(), weight));
        Ok(compiled)
    }

    /// An HTTP tool. Takes a while if it is not kept.
    pub(super) fn http_tool(&self, tool: &HttpTool) -> Result<Arc<HttpDeclaration>, FieldProblem> {
        let Some((key, length)) = key_of(tool) else {
            return HttpDeclaration::parse(tool, self.longest_call).map(Arc::new);
        };
        if let Some(Kept(declaration, _)) = self.http_tools.get(&key) {
            return Ok(declaration);
        }
        let declaration = Arc::new(HttpDeclaration::parse(tool, self.longest_call)?);
        let weight = weight(&declaration.arguments, length);
        self.http_tools.insert(key, Kept(declaration.clone(), weight));
        Ok(declaration)
    }
}

fn cache<T: Clone + Send + Sync + 'static>(max_bytes: usize) -> Cache<Key, Kept<T>> {
    Cache::builder()
        .max_capacity(max_bytes as u64)
        .weigher(|_, kept: &Kept<T>| kept.1)
        .build()
}

fn weight(schema: &CompiledSchema, written: usize) -> u32 {
    u32::try_from(schema.memory(written)).unwrap_or(u32::MAX)
}

fn key_of(declaration: &impl Serialize) -> Option<(Key, usize)> {
    let text = serde_json::to_vec(declaration).ok()?;
    Some((Sha256::digest(&text).into(), text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_text_is_taken_apart_once() {
        let declarations = Declarations::new(1_000_000, Duration::from_secs(30));
        let tool = |name: &str| -> HttpTool {
            let tool = json!({"name": name, "parameters": {"type": "object"}, "url": "https://api.example.com/"});
            serde_json::from_value(tool).expect("a tool")
        };
        let first = declarations.http_tool(&tool("a")).expect("a tool");
        assert!(Arc::ptr_eq(
            &first,
            &declarations.http_tool(&tool("a")).expect("a tool")
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &declarations.http_tool(&tool("b")).expect("a tool")
        ));
        let schema = json!({"type": "object"});
        let compiled = declarations.schema(&schema).expect("a schema");
        assert!(Arc::ptr_eq(&compiled, &declarations.schema(&schema).expect("a schema")));
        assert!(declarations.schema(&json!({"type": "objekt"})).is_err());
    }

    #[test]
    fn no_more_than_allowed_is_kept() {
        let declarations = Declarations::new(200_000, Duration::from_secs(30));
        for index in 0..1000 {
            let schema = json!({"type": "object", "description": format!("{index} {}", "x".repeat(100))});
            declarations.schema(&schema).expect("a schema");
        }
        declarations.schemas.run_pending_tasks();
        let kept = declarations.schemas.weighted_size();
        assert!((10_000..=100_000).contains(&kept), "{kept}");
    }
}
