//! `GET /api/v1/budget`: what the caller's account may use, has used and has left.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::time::Timestamp;

use super::error::ApiError;
use super::extract::query::QueryParameters;
use super::state::HttpState;
use crate::auth::Caller;
use crate::budget_view::BudgetView;

/// Shows the caller's budget.
pub(super) async fn get_budget(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let view = match state.parts.tier_budgets.get(&caller.tier) {
        None => BudgetView::unlimited(caller.account, caller.tier),
        Some(budget) => {
            let (budgets, account) = (state.parts.budgets.clone(), caller.account.clone());
            let (period, at) = (budget.limits.period, Timestamp::now());
            let asking = async move { budgets.balance(&account, period, at).await };
            let balance = state.on_io(asking).await??;
            BudgetView::of(caller.account, caller.tier, budget, &balance, at)
        }
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}
