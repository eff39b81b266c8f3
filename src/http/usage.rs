//! `GET /api/v1/usage`: what the caller's account has used, by day, model or provider.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ports::budgets::UsageQuery;
use callboard_actors::time::Timestamp;
use jiff::civil::Date;

use super::error::ApiError;
use super::extract::query::{QueryParameters, invalid};
use super::state::HttpState;
use crate::auth::Caller;
use crate::usage_view::{UsageDimension, UsageView};

/// Days of one answer, at most: a year and its leap day.
const MOST_DAYS: i32 = 366;

const GROUPS: [(&str, UsageDimension); 3] = [
    ("day", UsageDimension::Day),
    ("model", UsageDimension::Model),
    ("provider", UsageDimension::Provider),
];

/// Shows what the caller's account has used.
pub(super) async fn get_usage(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["from", "to", "group_by"])?;
    let (from, to) = days(&parameters, Timestamp::now().utc_day())?;
    let group_by = groups(parameters.text("group_by").unwrap_or("day,model"))?;
    let query = UsageQuery {
        account: Some(caller.account.clone()),
        from,
        to,
    };
    let budgets = state.parts.budgets.clone();
    let rows = state.on_io(async move { budgets.usage(query).await }).await??;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(UsageView::of(rows, from, to, group_by)))
}

/// From the first of the month to today, if nothing else is said.
fn days(parameters: &QueryParameters, today: Date) -> Result<(Date, Date), ApiError> {
    let to = day(parameters, "to")?.unwrap_or(today);
    let from = day(parameters, "from")?.unwrap_or(to.first_of_month());
    if from > to {
        return Err(invalid("from", &format!("it must not be after `to`, which is {to}")));
    }
    if from.until(to).map_or(i32::MAX, |span| span.get_days()) >= MOST_DAYS {
        return Err(invalid(
            "from",
            &format!("there are at most {MOST_DAYS} days in one answer"),
        ));
    }
    Ok((from, to))
}

fn day(parameters: &QueryParameters, name: &str) -> Result<Option<Date>, ApiError> {
    let read = |text: &str| {
        let written_right = text.len() == "2026-11-23".len() && text.is_ascii();
        let day = text.parse::<Date>().ok().filter(|_| written_right);
        day.ok_or_else(|| invalid(name, "it must be a day, such as 2026-11-23"))
    };
    parameters.text(name).map(read).transpose()
}

fn groups(text: &str) -> Result<Vec<UsageDimension>, ApiError> {
    let mut groups = Vec::new();
    for name in text.split(',') {
        let known = GROUPS.iter().find(|(known, _)| *known == name);
        let Some((_, group)) = known.filter(|(_, group)| !groups.contains(group)) else {
            let problem = "it must be some of day, model, provider, each once, with commas between them";
            return Err(invalid("group_by", problem));
        };
        groups.push(*group);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use actix_web::test::TestRequest;
    use jiff::civil::date;

    use super::*;

    fn days_of(query: &str) -> Result<(Date, Date), String> {
        let request = TestRequest::with_uri(&format!("/usage?{query}")).to_http_request();
        let parameters = QueryParameters::of(&request, &["from", "to"]).unwrap();
        days(&parameters, date(2028, 2, 29)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn the_days_are_this_month_unless_something_else_is_said() {
        assert_eq!(days_of(""), Ok((date(2028, 2, 1), date(2028, 2, 29))));
        assert_eq!(days_of("from=2028-01-15"), Ok((date(2028, 1, 15), date(2028, 2, 29))));
        assert_eq!(days_of("to=2027-12-05"), Ok((date(2027, 12, 1), date(2027, 12, 5))));
        let leap_year = days_of("from=2028-01-01&to=2028-12-31");
        assert_eq!(leap_year, Ok((date(2028, 1, 1), date(2028, 12, 31))));
    }

    #[test]
    fn days_that_cannot_be_are_refused() {
        for wrong in [
            "from=2028-03-01",
            "from=2028-01-01&to=2029-01-01",
            "from=0001-01-01&to=9999-12-31",
            "from=2028-02-30",
            "from=20280201",
            "from=2028-2-1",
            "from=",
            "to=2028-02-01T00:00:00Z",
            "to=yesterday",
        ] {
            assert!(days_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_are_known_and_come_once() {
        assert_eq!(groups("provider").unwrap(), [UsageDimension::Provider]);
        assert_eq!(groups("model,day,provider").unwrap().len(), 3);
        for wrong in ["", "account", "day,", "day,day", "day model", "Day"] {
            assert!(groups(wrong).is_err(), "{wrong}");
        }
    }
}
