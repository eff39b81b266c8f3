//! `GET /api/v1/models`.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::llm::{Choice, ModelRoute, Price, Target};
use callboard_actors::money::Money;
use serde::Serialize;

use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;

#[derive(Serialize)]
struct ModelsView<'a> {
    object: &'static str,
    default_model: &'a str,
    data: Vec<ModelView<'a>>,
}

#[derive(Serialize)]
struct ModelView<'a> {
    name: &'a str,
    /// Whether no real model is ever asked.
    simulated: bool,
    choice: &'static str,
    targets: Vec<TargetView<'a>>,
    /// What `model_options` may have in it.
    options: Vec<&'static str>,
    cached: bool,
}

#[derive(Serialize)]
struct TargetView<'a> {
    provider: &'a str,
    model: &'a str,
    weight: u32,
    /// `None` if no price is configured.
    price: Option<PriceView>,
    simulated: bool,
}

/// US dollars for a million tokens.
#[derive(Serialize)]
struct PriceView {
    input: Money,
    cached_input: Money,
    cache_write: Money,
    output: Money,
}

/// Shows the models.
pub(super) async fn get_models(
    request: HttpRequest,
    _caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    Ok(HttpResponse::Ok().json(ModelsView {
        object: "models",
        default_model: &state.options.runs.default_model,
        data: state.parts.catalog.models().map(|route| ModelView::of(route)).collect(),
    }))
}

impl<'a> ModelView<'a> {
    fn of(route: &'a ModelRoute) -> Self {
        Self {
            name: &route.name,
            simulated: route.is_simulated(),
            choice: match route.choice {
                Choice::Ordered => "ordered",
                Choice::Weighted => "weighted",
            },
            targets: route.targets.iter().map(|target| TargetView::of(target)).collect(),
            options: options_of_all(&route.targets),
            cached: route.calls.cache_for.is_some(),
        }
    }
}

/// Any target may be asked, so only what all of them take.
fn options_of_all(targets: &[Arc<Target>]) -> Vec<&'static str> {
    let mut models = targets.iter().filter_map(|target| target.models.first());
    let Some(first) = models.next() else {
        return Vec::new();
    };
    let mut names = first.option_names().to_vec();
    models.for_each(|model| names.retain(|name| model.option_names().contains(name)));
    names
}

impl<'a> TargetView<'a> {
    fn of(target: &'a Target) -> Self {
        let Price {
            input,
            cached_input,
            cache_write,
            output,
        } = target.price;
        Self {
            provider: &target.provider.name,
            model: &target.upstream_model,
            weight: target.weight,
            price: (target.price != Price::default()).then_some(PriceView {
                input,
                cached_input,
                cache_write,
                output,
            }),
            simulated: target.is_simulated(),
        }
    }
}
