//! The supervisor: admits runs against Permits and Slots, queues what must wait, and answers for every run of this instance.

pub mod messages;
