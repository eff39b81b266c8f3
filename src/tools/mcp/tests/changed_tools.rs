//! Servers that say that their tools are others now.

use tokio::sync::Notify;

use super::*;

/// A server that has another tool after its first call. Asked for the list then, it is silent at first, and says that it was asked.
async fn changing_server(asked: Arc<Notify>) -> WebServer {
    let (lists, calls) = (AtomicU32::new(0), AtomicU32::new(0));
    WebServer::start(move |request: &Received| {
        let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let answered = |result: Value| json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        match message["method"].as_str() {
            Some("tools/list") => {
                let number = lists.fetch_add(1, Ordering::SeqCst);
                if number == 1 {
                    asked.notify_one();
                    return Reply::Silence;
                }
                let name = if number == 0 { "pay" } else { "refund" };
                let list = json!({"tools": [{"name": name, "inputSchema": {"type": "object"}}]});
                reply("200 OK", &[("content-type", "application/json")], answered(list))
            }
            Some("tools/call") => {
                let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
                let result = answered(json!({"content": [{"type": "text", "text": "paid"}]}));
                let events = format!("data: {changed}\n\ndata: {result}\n\n");
                reply("200 OK", &[("content-type", "text/event-stream")], events)
            }
            _ => answer(Manner::Json, &calls, request),
        }
    })
    .await
}

#[tokio::test]
async fn a_changed_list_is_asked_for_again_if_whoever_asked_first_went_away() {
    let asked = Arc::new(Notify::new());
    let shop = changing_server(asked.clone()).await;
    let servers = servers(&shop, RetryClass::Safe, &[]);
    let tools = async || {
        let open = open(&servers, "acme", wish("shop", None, &[])).await;
        let names: Vec<String> = open.tools.keys().cloned().collect();
        (open, names)
    };
    let (open, names) = tools().await;
    assert_eq!(names, ["shop__pay"]);
    assert_eq!(call(&open, "shop__pay").await.as_deref(), Ok("paid"));
    tokio::select! {
        _ = tools() => panic!("the list does not come"),
        () = asked.notified() => {}
    }
    let (_, names) = tools().await;
    assert_eq!(names, ["shop__refund"]);
    servers.close(Duration::from_secs(5)).await;
}
