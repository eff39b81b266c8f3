//! `GET /v1/models`, in the form of whoever asks.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use uuid::Uuid;

use super::dialects::{Chat, Dialect, Messages};
use super::provider::{Caller, Provider};
use super::serving::{Reply, key_refused};
use crate::llm::simulated::script::MODEL_NAME;

pub(super) async fn list(provider: web::Data<Provider>, request: HttpRequest) -> HttpResponse {
    let caller = Caller::of(request.headers());
    let is_anthropic = request.headers().contains_key("anthropic-version");
    if provider.find_key(&caller.key).is_none() {
        let dialect: &'static dyn Dialect = if is_anthropic { &Messages } else { &Chat };
        let reply = Reply {
            dialect,
            request_id: format!("req_{}", Uuid::now_v7().simple()),
            standing: None,
        };
        return reply.problem(&key_refused(&caller));
    }
    if is_anthropic {
        return HttpResponse::Ok().json(json!({
            "data": [{"type": "model", "id": MODEL_NAME, "display_name": "Simulated", "created_at": "2026-01-01T00:00:00Z"}],
            "has_more": false, "first_id": MODEL_NAME, "last_id": MODEL_NAME
        }));
    }
    HttpResponse::Ok().json(json!({"object": "list", "data": [
        {"id": MODEL_NAME, "object": "model", "created": 0, "owned_by": "callboard"}
    ]}))
}
