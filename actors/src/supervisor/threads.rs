//! Runs of threads, on an instance that is alone on its store: they begin one after the other, in the order in which they came.
//!
//! A thread takes one new run at a time: the next is looked at when the one before has its place in the store, so that the order here and
//! the order there are one. A run that must wait for another is durable in the queue and *held* there, in nobody's way, until it is the
//! first of its thread ([`ThreadLines`](crate::thread_lines::ThreadLines)).

use std::collections::VecDeque;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::event::QueuedReason;
use crate::ids::{RunId, ThreadId};
use crate::ledger::TierQuota;
use crate::ports::StoreError;
use crate::ports::store::Recovered;
use crate::queue::WaitingRun;
use crate::supervisor::messages::{CancelMarked, CancelRun, StartError, StartRun, Started};
use crate::supervisor::{StartReply, Supervisor};

/// How long it takes until a cancel is tried again that the store could not answer.
const CANCEL_PAUSE: Duration = Duration::from_millis(500);

/// A new run has its place in its thread, or none.
#[derive(Message)]
#[rtype(result = "()")]
struct Entered {
    thread: ThreadId,
    run: RunId,
    result: Result<Started, StartError>,
    reply: StartReply,
}

/// A run has become the first of its thread.
pub(super) struct BecameFirst(pub(super) RunId);

/// Starts that wait for another one of their thread to be written.
pub(super) type Entering = std::collections::HashMap<ThreadId, VecDeque<(StartRun, StartReply)>>;

impl Supervisor {
    /// Hears from now on which runs become first.
    pub(super) fn listen_to_threads(&self, ctx: &mut Context<Self>) {
        let mut heard = self.services.thread_lines.listen();
        ctx.add_stream(futures::stream::poll_fn(move |task| {
            heard.poll_recv(task).map(|run| run.map(BecameFirst))
        }));
    }

    /// Takes up what the instance before this one left of threads; before anything of it starts.
    pub(super) fn take_up_threads(&self, recovered: &Recovered) {
        for (thread, run) in &recovered.in_threads {
            self.services.thread_lines.push(thread.id, *run);
        }
    }

    /// Admits a run of a thread, unless another one is just entering it.
    pub(super) fn admit_to_thread(
        &mut self,
        thread: ThreadId,
        run: RunId,
        request: StartRun,
        quota: TierQuota,
        reply: StartReply,
        ctx: &mut Context<Self>,
    ) {
        if self.entering.contains_key(&thread) {
            let limit = self.settings.queue_limit;
            let waiting: usize = self.entering.values().map(VecDeque::len).sum();
            if waiting as u64 >= limit {
                return self.refuse(request, StartError::QueueFull { limit }, reply);
            }
            self.entering.entry(thread).or_default().push_back((request, reply));
            return;
        }
        self.entering.insert(thread, VecDeque::new());
        let (written, outcome) = oneshot::channel();
        self.io_task(ctx, async move {
            let gone = || StartError::Store(StoreError::Unavailable("the supervisor is gone".into()));
            let result = outcome.await.unwrap_or_else(|_| Err(gone()));
            Entered {
                thread,
                run,
                result,
                reply,
            }
        });
        // It has its place now: when it is written, it may have ended before anyone hears of that.
        if self.services.thread_lines.push(thread, run) == 0 {
            self.admit_alone(run, request, quota, written, ctx);
        } else {
            // As far as is known here: the store has the last word, because it hears of an end first.
            self.enqueue(run, request, QueuedReason::ThreadBusy, written, ctx);
        }
    }

    /// Puts a run that is durable in the queue where it waits: in its account's line, or held for its thread.
    pub(super) fn let_wait(&mut self, run: WaitingRun) {
        if self.services.thread_lines.is_first(run.id) {
            self.queue.insert(run);
        } else {
            self.queue.hold(run);
        }
    }

    /// Cancels runs that are marked as to be cancelled. Nobody waits for the answer: the mark stays until they have ended.
    ///
    /// The ones behind them wait for that, so it is tried until the store has answered.
    pub(super) fn cancel_marked(&mut self, runs: Vec<RunId>, ctx: &mut Context<Self>) {
        for run in runs {
            let (reply, answer) = oneshot::channel();
            self.cancel(run, reply, ctx);
            let address = ctx.address();
            self.services.io.spawn(async move {
                let mut answer = answer;
                while let Ok(Err(error)) = answer.await {
                    tracing::warn!(run_id = %run, %error, "a run that is to be cancelled was not; trying again");
                    if !matches!(error, StoreError::Unavailable(_)) {
                        return;
                    }
                    tokio::time::sleep(CANCEL_PAUSE).await;
                    let (reply, next) = oneshot::channel();
                    // A supervisor that is gone has left the mark in the store.
                    if address.send(CancelRun { run, reply }).await.is_err() {
                        return;
                    }
                    answer = next;
                }
            });
        }
    }
}

impl Handler<Entered> for Supervisor {
    type Result = ();

    fn handle(&mut self, entered: Entered, ctx: &mut Self::Context) {
        let is_new = matches!(&entered.result, Ok(started) if !started.replayed);
        if !is_new {
            self.services.thread_lines.ended(entered.run);
        }
        // A client that went away does not need it.
        let _ = entered.reply.send(entered.result);
        for (request, reply) in self.entering.remove(&entered.thread).unwrap_or_default() {
            self.admit(request, reply, ctx);
        }
        self.check_drained();
    }
}

impl Handler<CancelMarked> for Supervisor {
    type Result = ();

    fn handle(&mut self, marked: CancelMarked, ctx: &mut Self::Context) {
        self.cancel_marked(marked.runs, ctx);
    }
}

impl StreamHandler<BecameFirst> for Supervisor {
    fn handle(&mut self, first: BecameFirst, ctx: &mut Context<Self>) {
        if self.queue.release(first.0) {
            self.pump(ctx);
            self.schedule_expiry(ctx);
        }
    }

    /// It ends with the supervisor itself.
    fn finished(&mut self, _ctx: &mut Context<Self>) {}
}
