//! Callboard, the connecting half: HTTP, adapters, configuration, command line and the composition root.

pub mod store;
