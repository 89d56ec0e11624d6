//! Measuring contenders in turns.

use std::time::Instant;

use crate::Result;

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Wall clock.
    pub seconds: f64,
    /// Peak memory of the process, where it was ours; otherwise 0.
    pub peak_bytes: u64,
}

/// Runs something and takes the time.
///
/// # Errors
/// What the work fails with.
pub fn timed(work: impl FnOnce() -> Result<()>) -> Result<Sample> {
    let start = Instant::now();
    work()?;
    Ok(Sample { seconds: start.elapsed().as_secs_f64(), peak_bytes: 0 })
}

/// One that is measured: its name, and a run of it.
pub struct Contender<'a> {
    /// What it is called.
    pub name: &'static str,
    run: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Contender<'a> {
    /// A contender whose runs take the time themselves, so that making ready and cleaning up do not count.
    pub fn new(name: &'static str, run: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Contender { name, run: Box::new(run) }
    }
}

/// Medians by name.
#[derive(Debug, Default)]
pub struct Medians(Vec<(&'static str, Sample)>);

impl Medians {
    /// The median of a contender.
    ///
    /// # Errors
    /// When it did not run.
    pub fn get(&self, name: &str) -> Result<Sample> {
        self.find(name).ok_or_else(|| format!("{name} was not measured").into())
    }

    /// The same, for one that may be missing on this host.
    pub fn find(&self, name: &str) -> Option<Sample> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, sample)| *sample)
    }
}

/// Runs all contenders one after the other, `rounds` times.
///
/// # Errors
/// What a contender fails with.
pub fn in_turns(rounds: usize, contenders: &mut [Contender<'_>]) -> Result<Medians> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); contenders.len()];
    for round in 1..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            settle();
            let sample = (contender.run)()?;
            eprintln!("round {round}: {:24} {:8.3} s", contender.name, sample.seconds);
            samples.push(sample);
        }
    }
    let medians = contenders.iter().zip(samples).map(|(contender, mut samples)| {
        samples.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let seconds = samples[samples.len() / 2].seconds;
        let peak_bytes = samples.iter().map(|sample| sample.peak_bytes).max().unwrap_or(0);
        (contender.name, Sample { seconds, peak_bytes })
    });
    Ok(Medians(medians.collect()))
}

/// Waits until the disk has nothing left to do for whoever ran before.
pub fn settle() {
    #[cfg(target_os = "linux")]
    rustix::fs::sync();
}

/// Empties the page cache. Only root may; says whether it was done.
pub fn drop_caches() -> bool {
    settle();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Rounds asked for by `--rounds N`, or the default.
pub fn rounds(default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    arguments.next().and_then(|n| n.parse().ok()).unwrap_or(default).max(1)
}
