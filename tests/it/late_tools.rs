//! Tools that somebody has to be asked for: the run waits for them, and for nothing that does not come.

use std::sync::Arc;
use std::time::Instant;

use callboard::llm::simulated::SimulatedModel;
use callboard_actors::error::RunErrorCode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::AccountId;
use callboard_actors::ports::toolbox::{InvalidTool, MissingTools, Toolbox, ToolsOpening, ToolsWish};
use callboard_actors::ports::{ProgressReporter, Tool, ToolCall, ToolDefinition, ToolError, ToolProgress};
use callboard_actors::run_state::RunState;
use callboard_actors::services::RunServices;
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::testing::fixed_tools::FixedTools;
use callboard_actors::tool_use::ToolUse;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::harness::{InProcess, patiently, start_of, started};

/// What becomes of the tools.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Come,
    NeverCome,
    Break,
}

/// Fixed tools that are there when somebody says so, once: after that at once.
struct LateTools {
    tools: FixedTools,
    fate: watch::Receiver<Option<Fate>>,
    asked: mpsc::UnboundedSender<()>,
    /// Gone when nobody asks any more.
    asking: Arc<Semaphore>,
}

impl Toolbox for LateTools {
    fn check(&self, account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool> {
        self.tools.check(account, tools)
    }

    fn open(&self, wish: ToolsWish) -> ToolsOpening {
        let ToolsOpening::Ready(mut open) = self.tools.open(wish) else {
            unreachable!("fixed tools are there")
        };
        open.missing.push(MissingTools {
            source: "others".into(),
            reason: "they did not come".into(),
        });
        let (mut fate, asked) = (self.fate.clone(), self.asked.clone());
        let asking = self.asking.clone().try_acquire_owned().expect("a place");
        ToolsOpening::Later(Box::pin(async move {
            let _asking = asking;
            asked.send(()).expect("somebody counts");
            let said = *fate.wait_for(Option::is_some).await.expect("somebody says");
            match said.expect("something") {
                Fate::Come => open,
                Fate::NeverCome => std::future::pending().await,
                Fate::Break => panic!("told to break"),
            }
        }))
    }

    fn names(&self) -> Vec<String> {
        self.tools.names()
    }
}

/// Says how far it is, as often as it can, and ends when somebody has heard of it.
struct Talkative {
    heard: Arc<Semaphore>,
}

#[async_trait::async_trait]
impl Tool for Talkative {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "talk".into(),
            description: "Talks.".into(),
            parameters: json!({"type": "object"}),
        }
    }

    async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
        Err(ToolError::new("nobody listens"))
    }

    async fn call_with_progress(&self, _call: ToolCall, progress: ProgressReporter) -> Result<String, ToolError> {
        for step in 0..1000 {
            progress.report(ToolProgress {
                progress: f64::from(step),
                total: Some(1000.0),
                message: None,
            });
            tokio::task::yield_now().await;
        }
        self.heard.acquire().await.expect("open").forget();
        Ok("said".into())
    }
}

struct Scene {
    server: InProcess,
    supervisor: SupervisorHandle,
    fate: watch::Sender<Option<Fate>>,
    asked: mpsc::UnboundedReceiver<()>,
    asking: Arc<Semaphore>,
    heard: Arc<Semaphore>,
}

const PLACES: u32 = 100;

impl Scene {
    async fn new() -> Self {
        let server = InProcess::plain().await;
        let (fate, said) = watch::channel(None);
        let (asking_begins, asked) = mpsc::unbounded_channel();
        let asking = Arc::new(Semaphore::new(PLACES as usize));
        let heard = Arc::new(Semaphore::new(0));
        let tools: Vec<Arc<dyn Tool>> = vec![Arc::new(Talkative { heard: heard.clone() })];
        let services = RunServices {
            toolbox: Arc::new(LateTools {
                tools: FixedTools::new(tools),
                fate: said,
                asked: asking_begins,
                asking: asking.clone(),
            }),
            ..server.services(Arc::new(SimulatedModel::default()), Vec::new())
        };
        let supervisor = server.supervisor_with(services, 1).await;
        Self {
            server,
            supervisor,
            fate,
            asked,
            asking,
            heard,
        }
    }

    async fn until_asked(&mut self) {
        patiently("the tools to be asked for", self.asked.recv())
            .await
            .expect("open");
    }

    async fn finish(self) {
        let all = self.asking.acquire_many(PLACES);
        drop(
            patiently("nobody to ask for a run that is over", all)
                .await
                .expect("open"),
        );
        self.server.finish(self.supervisor).await;
    }
}

#[actix_rt::test]
async fn the_model_is_called_when_the_tools_are_there_and_what_is_missing_is_told_first() {
    let began = Instant::now();
    let mut scene = Scene::new().await;
    let start = start_of(json!({"tokens": 2, "tool_calls": [{"name": "talk"}]}), &["talk"]);
    let run = started(&scene.supervisor, start).await;
    scene.until_asked().await;
    scene.fate.send_replace(Some(Fate::Come));
    scene.server.run_after(run, "tool.progress").await;
    scene.heard.add_permits(1);
    assert_eq!(scene.server.ended(run).await.state, RunState::Completed);
    let events = scene.server.events(run).await;
    let kinds: Vec<_> = events.iter().map(|event| event.body.kind()).collect();
    let place = |kind: &str| kinds.iter().position(|found| *found == kind).expect(kind);
    assert!(place("tools.unavailable") < place("item.added"), "{kinds:?}");
    let progress = events.iter().filter_map(|event| match &event.body {
        EventBody::ToolProgress { call_id, progress, .. } => Some((call_id.clone(), progress.clone())),
        _ => None,
    });
    let progress: Vec<_> = progress.collect();
    // At once, and then no more than one a second.
    let most = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&progress.len()), "{progress:?}");
    scene.finish().await;
}

#[actix_rt::test]
async fn a_toolbox_that_breaks_ends_the_run_and_no_other() {
    let mut scene = Scene::new().await;
    let run = started(&scene.supervisor, start_of(json!({}), &["talk"])).await;
    scene.until_asked().await;
    scene.fate.send_replace(Some(Fate::Break));
    let ended = scene.server.ended(run).await;
    assert_eq!(ended.state, RunState::Failed);
    assert_eq!(ended.error.map(|error| error.code), Some(RunErrorCode::Internal));
    scene.fate.send_replace(Some(Fate::Come));
    let next = started(&scene.supervisor, start_of(json!({"tokens": 1}), &["talk"])).await;
    assert_eq!(scene.server.ended(next).await.state, RunState::Completed);
    scene.finish().await;
}

#[actix_rt::test]
async fn a_run_is_cancelled_and_its_deadline_comes_while_its_tools_do_not() {
    let mut scene = Scene::new().await;
    scene.fate.send_replace(Some(Fate::NeverCome));
    let run = started(&scene.supervisor, start_of(json!({}), &["talk"])).await;
    scene.until_asked().await;
    patiently("the cancel", scene.supervisor.cancel(run))
        .await
        .expect("it is cancelled");
    assert_eq!(scene.server.ended(run).await.state, RunState::Cancelled);

    let mut start = start_of(json!({}), &["talk"]);
    Arc::make_mut(&mut start.spec).limits.deadline_seconds = 1;
    let run = started(&scene.supervisor, start).await;
    let ended = scene.server.ended(run).await;
    assert_eq!(
        ended.error.map(|error| error.code),
        Some(RunErrorCode::DeadlineExceeded)
    );
    scene.finish().await;
}

#[actix_rt::test]
async fn a_run_whose_tools_do_not_come_is_handed_over_when_the_server_leaves() {
    let mut scene = Scene::new().await;
    scene.fate.send_replace(Some(Fate::NeverCome));
    let run = started(&scene.supervisor, start_of(json!({}), &["talk"])).await;
    scene.until_asked().await;
    patiently("the drain", scene.supervisor.drain(std::time::Duration::ZERO)).await;
    let store = scene.server.store.clone();
    let reading = scene.server.io.spawn(async move { store.run(run).await });
    let record = reading
        .await
        .expect("no panic")
        .expect("it reads")
        .expect("it is there");
    assert_eq!(record.state, RunState::Queued);
    scene.finish().await;
}
