//! How many commits a journey has: counted, so that nobody has to believe a number.

use crate::agents::{Agent, people};
use crate::peer::machine::median;
use crate::provider::Provider;

/// The commit frames of SQLite's log: those whose header says how large the database is then
/// (<https://www.sqlite.org/fileformat2.html#walformat>).
fn commit_frames(log: &[u8]) -> usize {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let (header, frames) = log.split_at(32);
    let frame = 24 + usize::try_from(number(&header[8..12])).unwrap();
    let of_now = frames.chunks_exact(frame).take_while(|frame| frame[8..16] == header[16..24]);
    of_now.filter(|frame| number(&frame[4..8]) != 0).count()
}

/// What a lone journey leaves; the median of nine, because workers write too, now and then, and a full log begins anew.
pub(crate) fn of_a_journey(runtime: &tokio::runtime::Runtime) -> usize {
    let provider = Provider::start(None);
    let counted = runtime.block_on(async {
        let mut agent = Agent::connect(&provider).await;
        agent.journey(&people()).await;
        let mut counted = Vec::new();
        for _ in 0..9 {
            let before = commit_frames(&provider.log());
            agent.journey(&people()).await;
            counted.push(commit_frames(&provider.log()).saturating_sub(before));
        }
        counted
    });
    let middle = median(counted.iter().map(|one| f64::from(u32::try_from(*one).unwrap())));
    counted.into_iter().find(|one| f64::from(u32::try_from(*one).unwrap()) >= middle && *one > 0).unwrap()
}
