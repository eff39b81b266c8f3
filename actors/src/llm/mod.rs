//! Model calls: which provider is asked, with which key, when, and who pays.
//!
//! A run asks its [`LlmActor`](actor::LlmActor) for one answer. On the I/O runtime a task then makes the call ([`call`]): it takes a hold on
//! the account's budget, looks for room under the limits of a key ([`line`](CallLine), [`crate::ports::rate_limits`]), asks the provider
//! ([`attempt`]), and goes to the next key, the next target of the route, or waits and begins again, as the error says. What the provider
//! says goes to the run piece by piece.
//!
//! | what happens | what is done |
//! |---|---|
//! | no room on any key of any target | stand in the lines of all of them; `model.waiting` |
//! | 429 | the key cools down; another key or target, or the line. Costs no try, but some of the time that the call may wait for room |
//! | larger than the whole limits of a target's keys; 413, or a 429 that says so | the next target; when none is left the run fails. No key cools down |
//! | 401, 402 with a key | the key is set aside; another key |
//! | 403 with a key | another key; if that is answered, the first is set aside, and if it is refused too, the run fails: it may not ask for this |
//! | overload, 5xx, time-out, broken connection | the next target (`model.rerouted`), and this one again if it is well before the others have room; when all have failed, all again after a while (`model.retrying`) |
//! | the storage of the call's pictures is in trouble | room and hold are given back, and looked for again after a while; in the end the run fails |
//! | any other status | the run fails: the request is wrong wherever it is sent |
//! | the same provider fails again and again | its circuit opens: it is not asked for a while |

mod actor;
mod attempt;
mod budget;
mod call;
pub mod circuit;
mod ending;
pub mod estimate;
pub mod flight;
mod grant;
pub mod line;
mod pictures;
mod place;
pub mod price;
mod progress;
mod room;
pub mod route;
mod size;

#[cfg(test)]
mod tests;

pub(crate) use actor::{AbortCall, CallModel, LlmActor, ModelReport};
pub use budget::{AccountBudget, AccountBudgets, WhenExhausted};
pub use call::make_call;
pub use circuit::{Circuit, CircuitSettings, CircuitState};
pub use flight::{AnswerSharing, Flights};
pub use line::{CallLine, WaitNotice};
pub use pictures::Pictures;
pub use price::Price;
pub use progress::{CallFailure, CallInProgress, CallListener, CallWish, ModelProgress};
pub use route::{CallSettings, Choice, ModelRoute, ModelTimeouts, Provider, Target};
