//! Slows down a server that talks more than anybody listens.

use std::time::Duration;

use tokio::time::Instant;

/// What a server may say unasked within [`WINDOW`]: messages, each KiB counting as another.
const ALLOWANCE: usize = 1000;

const WINDOW: Duration = Duration::from_secs(1);

/// Counts what a server says unasked. When that is too much it is not listened to for a while: its pipe or its connection fills, and it waits.
#[derive(Debug)]
pub(super) struct Throttle {
    window_ends: Instant,
    used: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            window_ends: Instant::now() + WINDOW,
            used: 0,
        }
    }
}

impl Throttle {
    /// Something of this many bytes was said.
    pub(super) fn charge(&mut self, bytes: usize) {
        let now = Instant::now();
        if now >= self.window_ends {
            self.window_ends = now + WINDOW;
            self.used = 0;
        }
        self.used += 1 + bytes / 1024;
    }

    /// Waits until something may be said again. Loses nothing when it is dropped.
    pub(super) async fn wait(&self) {
        if self.used > ALLOWANCE {
            tokio::time::sleep_until(self.window_ends).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_slowed_down_and_talk_is_not() {
        let mut throttle = Throttle::default();
        let begun = Instant::now();
        for _ in 0..ALLOWANCE {
            throttle.charge(10);
            throttle.wait().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..ALLOWANCE * 10 {
            throttle.charge(10);
            throttle.wait().await;
        }
        assert!(begun.elapsed() >= WINDOW * 9, "{:?}", begun.elapsed());
        throttle.charge(ALLOWANCE * 1024);
        throttle.wait().await;
        assert!(begun.elapsed() >= WINDOW * 10);
    }
}
