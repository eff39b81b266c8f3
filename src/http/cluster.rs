//! `GET /api/v1/cluster`: the instances of this installation, how busy each is, and what they come to together. For operators.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::InstanceId;
use callboard_actors::ports::Fleet;

use super::authenticate::Operator;
use super::error::ApiError;
use super::extract::query::QueryParameters;
use super::state::HttpState;
use crate::cluster_view::ClusterView;

/// How long the store may take: whoever asks for this may be looking for what is broken.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// Shows the instances and the totals.
pub(super) async fn get_cluster(
    request: HttpRequest,
    _operator: Operator,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let runs = state.parts.runs.clone();
    let snapshot = state.on_io(async move { runs.snapshot().await }).await?;
    let view = match (&state.parts.fleet, snapshot.instance) {
        (Some(fleet), instance) => view_of_fleet(&state, fleet.clone(), instance).await?,
        (None, Some(id)) => ClusterView::of_lone_instance(id, &state.parts.instance, &snapshot),
        (None, None) => {
            tracing::error!("there is no supervisor any more");
            return Err(ApiError::internal());
        }
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}

async fn view_of_fleet(
    state: &HttpState,
    fleet: Arc<dyn Fleet>,
    answering: Option<InstanceId>,
) -> Result<ClusterView, ApiError> {
    let asked = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { fleet.overview().await }));
    let Ok(answered) = asked.await else {
        tracing::warn!("the store did not say in time which instances there are");
        return Err(ApiError::store_unavailable());
    };
    Ok(ClusterView::of_fleet(&answered??, answering))
}
