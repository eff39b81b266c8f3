//! What stands for an answer that was too large to be read.

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};

/// No code of JSON-RPC or MCP.
const CODE: ErrorCode = ErrorCode(-1_000_413);

const TEXT: &str = "the answer is too large";

/// Stands for the answer to this request.
pub(super) fn answer(id: RequestId) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::new(CODE, TEXT, None), Some(id))
}

/// Whether an error is one of ours. A server that says the same says so of itself.
pub(super) fn is_said_by(error: &ErrorData) -> bool {
    error.code == CODE
}
