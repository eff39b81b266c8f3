//! `/metrics`: what was counted, and gauges that are read when somebody asks.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use callboard_actors::ports::event_log::Reach;
use callboard_actors::ports::store::StoreUsage;
use callboard_actors::supervisor::messages::Snapshot;
use metrics::gauge;

use super::error::{ApiError, ErrorCode};
use super::models;
use super::process_usage::ProcessSample;
use super::state::HttpState;
use crate::blocking::BlockingPoolUsage;

/// Renders everything in the text format of Prometheus.
pub(super) async fn get_metrics(state: web::Data<HttpState>) -> Result<HttpResponse, ApiError> {
    let Some(handle) = state.parts.metrics.clone() else {
        return Err(ApiError::new(ErrorCode::NotFound, "this server keeps no metrics"));
    };
    let runs = state.parts.runs.clone();
    let snapshot = state.on_io(async move { runs.snapshot().await }).await?;
    set_run_gauges(&snapshot);
    set_fleet_gauges(&snapshot, state.parts.event_log.reach());
    set_store_gauges(state.parts.store.usage());
    models::key_gauges(&state).await?;
    let process = state.process_sample().await?;
    set_process_gauges(state.parts.blocking_pool.usage(), process);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(handle.render()))
}

fn set_run_gauges(snapshot: &Snapshot) {
    let queued: u64 = snapshot.queued_by_tier.values().sum();
    gauge!("callboard_runs", "state" => "running").set(snapshot.permits_in_use);
    gauge!("callboard_runs", "state" => "queued").set(queued as f64);
    gauge!("callboard_permits_limit").set(snapshot.permits_limit);
    gauge!("callboard_permits_in_use").set(snapshot.permits_in_use);
    gauge!("callboard_queue_limit").set(snapshot.queue_limit as f64);
    for (tier, length) in &snapshot.queued_by_tier {
        gauge!("callboard_queue_length", "tier" => tier.clone()).set(*length as f64);
    }
    for (index, runs) in snapshot.runs_by_arbiter.iter().enumerate() {
        gauge!("callboard_arbiter_runs", "arbiter" => index.to_string()).set(*runs);
    }
    gauge!("callboard_draining").set(one_if(snapshot.draining));
}

fn set_fleet_gauges(snapshot: &Snapshot, reach: Option<Reach>) {
    gauge!("callboard_fleet_instances").set(snapshot.live_instances);
    gauge!("callboard_lease_held").set(one_if(!snapshot.lease_lost));
    if let Some(reach) = reach {
        gauge!("callboard_events_reach").set(one_if(reach == Reach::Everywhere));
    }
}

fn one_if(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

fn set_store_gauges(usage: StoreUsage) {
    gauge!("callboard_db_connections_limit").set(usage.connections_limit);
    gauge!("callboard_db_connections_open").set(usage.connections_open);
    gauge!("callboard_db_connections_busy").set(usage.connections_busy);
    gauge!("callboard_db_writes_waiting").set(usage.writes_waiting as f64);
    metrics::counter!("callboard_db_statements_total").absolute(usage.statements);
    metrics::counter!("callboard_db_commits_total").absolute(usage.commits);
}

fn set_process_gauges(blocking: BlockingPoolUsage, process: ProcessSample) {
    gauge!("callboard_blocking_threads_limit").set(blocking.threads_limit as f64);
    gauge!("callboard_blocking_threads_busy").set(blocking.busy as f64);
    gauge!("callboard_blocking_jobs_waiting").set(blocking.waiting as f64);
    gauge!("callboard_process_cpu_cores").set(process.cpu_cores);
    gauge!("process_cpu_seconds_total").set(process.cpu_seconds);
    gauge!("process_resident_memory_bytes").set(process.rss_bytes as f64);
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_fleet_is_seen_in_its_gauges() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let snapshot = Snapshot {
            live_instances: 3,
            lease_lost: true,
            ..Snapshot::default()
        };
        metrics::with_local_recorder(&recorder, || set_fleet_gauges(&snapshot, None));
        let shown = recorder.handle().render();
        assert!(shown.contains("callboard_fleet_instances 3\n"), "{shown}");
        assert!(shown.contains("callboard_lease_held 0\n"), "{shown}");
        assert!(!shown.contains("callboard_events_reach"), "{shown}");
        for (reach, line) in [
            (Reach::OnlyHere, "callboard_events_reach 0\n"),
            (Reach::Everywhere, "callboard_events_reach 1\n"),
        ] {
            metrics::with_local_recorder(&recorder, || set_fleet_gauges(&snapshot, Some(reach)));
            let shown = recorder.handle().render();
            assert!(shown.contains(line), "{shown}");
        }
    }
}
