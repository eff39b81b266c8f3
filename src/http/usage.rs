//! `GET /api/v1/usage`: what the caller's account has used, by day, model and provider.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ports::budgets::UsageQuery;
use callboard_actors::time::Timestamp;
use jiff::ToSpan;
use jiff::civil::Date;
use serde::Serialize;

use super::error::ApiError;
use super::extract::query::{QueryParameters, invalid};
use super::state::HttpState;
use crate::auth::Caller;
use crate::usage_view::{UsageRowView, UsedView};

/// Days of one answer, both ends included.
const MOST_DAYS: i32 = 366;

/// Days that are shown if nobody says which.
const USUAL_DAYS: i64 = 30;

#[derive(Serialize)]
struct UsageAnswer {
    object: &'static str,
    from: String,
    to: String,
    data: Vec<UsageRowView>,
    totals: UsedView,
}

/// Shows the caller's usage.
pub(super) async fn get_usage(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["from", "to"])?;
    let to = day(&parameters, "to")?.unwrap_or_else(|| Timestamp::now().utc_day());
    let usual_from = to.checked_sub((USUAL_DAYS - 1).days()).unwrap_or(Date::MIN);
    let from = day(&parameters, "from")?.unwrap_or(usual_from);
    let days = (to - from).get_days() + 1;
    if !(1..=MOST_DAYS).contains(&days) {
        let problem = format!("there must be 1 to {MOST_DAYS} days from it to `to`");
        return Err(invalid("from", &problem));
    }
    let budgets = state.parts.budgets.clone();
    let query = UsageQuery {
        account: Some(caller.account),
        from,
        to,
    };
    let rows = state.on_io(async move { budgets.usage(query).await }).await??;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(UsageAnswer {
            object: "usage",
            from: from.to_string(),
            to: to.to_string(),
            totals: UsedView::sum_of(&rows),
            data: rows.iter().map(UsageRowView::of).collect(),
        }))
}

fn day(parameters: &QueryParameters, name: &str) -> Result<Option<Date>, ApiError> {
    let Some(text) = parameters.text(name) else {
        return Ok(None);
    };
    match text.parse::<Date>() {
        Ok(day) if text.len() == "2026-01-31".len() && day.year() > 0 => Ok(Some(day)),
        _ => Err(invalid(name, "it must be a day (of UTC), such as 2026-01-31")),
    }
}
