//! One transaction: samples alone as one statement, everything else under locks taken first.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Object, Transaction};
use postgres_types::ToSql;
use rowcall_core::id::HostId;
use rowcall_core::record::Body;
use tokio_postgres::Row;

use super::columns::{Gaps, Refused, Samples, as_sample, covered, needed_marks};
use super::devices::{self, Kept, Verdict};
use super::facts::ToldFacts;
use super::ledger::{Marks, Standing};
use super::vitals::Vitals;
use super::{Committed, Fallen, Item, count};
use crate::EpochId;
use crate::error::Error;
use crate::time::Time;

macro_rules! query {
    ($name:ident, $file:literal) => {
        const $name: &str = include_str!(concat!("../../../../sql/queries/ingest/", $file, ".sql"));
    };
}

query!(SAMPLES, "samples");
query!(VITALS, "vitals");
query!(REFUSED_HOSTS, "refused_hosts");
query!(LOCK_INFO, "lock_info");
query!(LOCK, "lock");
query!(GAPS, "gaps");
query!(QUARANTINE, "quarantine");
query!(MARKS, "marks");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[
    SAMPLES,
    VITALS,
    REFUSED_HOSTS,
    LOCK_INFO,
    LOCK,
    GAPS,
    super::facts::FACTS,
    QUARANTINE,
    MARKS,
];

/// Refused records that are kept with their reason, of one host and UTC day; the others are only
/// counted. The integrity report names this number.
const KEPT_PER_DAY: i64 = 1_000;

/// Stores some records and commits.
pub(super) async fn write(
    connection: &mut Object,
    items: &[Item<'_>],
    kept: Kept,
) -> Result<Committed, Error> {
    let (mut samples, mut vitals) = (Samples::default(), Vitals::default());
    let mut others = 0_usize;
    let (needed, covered) = (needed_marks(items), covered(items));
    for ((item, needed), again) in items.iter().zip(&needed).zip(covered) {
        match as_sample(item) {
            Some(sample) => {
                samples.push(item, sample, *needed, again);
                vitals.push(item, sample);
            }
            None => others += 1,
        }
    }
    if others == 0 {
        let (mut committed, taken) = if vitals.is_empty() {
            store_samples(&*connection, &samples, kept).await?
        } else {
            let transaction = connection.transaction().await?;
            // Sent one behind the other: the second need not wait for the first one's answer.
            let samples = store_samples(&transaction, &samples, kept);
            let vitals = store_vitals(&transaction, &vitals);
            let (stored, ()) = futures_util::future::try_join(samples, vitals).await?;
            transaction.commit().await?;
            stored
        };
        let sent: BTreeMap<_, _> = items.iter().map(Item::key).zip(needed).collect();
        let refused: Vec<_> = sent.into_iter().filter(|(key, _)| !taken.contains(&key.1)).collect();
        if !refused.is_empty() {
            committed.add(reasons(&*connection, &refused).await?);
        }
        return Ok(committed);
    }
    let transaction = connection.transaction().await?;
    let committed = store_mixed(&transaction, items, &needed, kept).await?;
    transaction.commit().await?;
    Ok(committed)
}

/// The one statement; also the epochs that it took.
async fn store_samples(
    client: &impl GenericClient,
    samples: &Samples,
    kept: Kept,
) -> Result<(Committed, BTreeSet<EpochId>), Error> {
    let statement = client.prepare_cached(SAMPLES).await?;
    let mut parameters: Vec<&(dyn ToSql + Sync)> = samples.parameters().into();
    parameters.push(&kept.samples_s);
    parameters.push(&KEPT_PER_DAY);
    parameters.extend(samples.more_parameters());
    let row = client.query_one(&statement, &parameters).await?;
    let count = |index| -> Result<u64, Error> { Ok(row.try_get::<_, i64>(index)?.unsigned_abs()) };
    let (stored, refused, taken) = (count(0)?, count(1)?, count(2)?);
    let epochs: Vec<i32> = row.try_get(3)?;
    let committed = Committed {
        samples: stored,
        quarantined: refused,
        duplicates: taken.saturating_sub(stored).saturating_sub(refused),
        ..Committed::default()
    };
    Ok((committed, epochs.into_iter().map(EpochId).collect()))
}

/// What belongs to samples that this transaction stored.
async fn store_vitals(transaction: &Transaction<'_>, vitals: &Vitals) -> Result<(), Error> {
    prepared(transaction, VITALS, &vitals.parameters()).await.map(drop)
}

/// Why nothing was stored of these epochs, with what each one's mark must have got to.
async fn reasons(
    client: &impl GenericClient,
    refused: &[((HostId, EpochId), i64)],
) -> Result<Committed, Error> {
    let current = current(client, REFUSED_HOSTS, refused.iter().map(|(key, _)| key.0)).await?;
    let mut committed = Committed::default();
    for &((host_id, epoch_id), from) in refused {
        match current.get(&host_id) {
            Some(standing) if standing.epoch_id == epoch_id => {
                committed.fallen.push(Fallen { host_id, epoch_id, from, to: standing.mark });
            }
            _ => committed.superseded.push((host_id, epoch_id)),
        }
    }
    Ok(committed)
}

async fn store_mixed(
    transaction: &Transaction<'_>,
    items: &[Item<'_>],
    needed: &[i64],
    kept: Kept,
) -> Result<Committed, Error> {
    let tells_facts = |item: &&Item<'_>| matches!(item.incoming.record.body, Body::HostFacts(_));
    let with_facts: BTreeSet<_> =
        items.iter().filter(tells_facts).map(|item| item.incoming.host_id.0).collect();
    if !with_facts.is_empty() {
        let hosts: Vec<i32> = with_facts.into_iter().collect();
        query(transaction, LOCK_INFO, &[&hosts]).await?;
    }
    let hosts = items.iter().map(|item| item.incoming.host_id);
    let current = current(transaction, LOCK, hosts).await?;
    // Beyond the mark, or put aside before.
    let is_new = |item: &Item<'_>| {
        let mark = current.get(&item.incoming.host_id).map_or(0, |standing| standing.mark);
        item.incoming.record.through().as_i64() > mark
    };
    let (mut taken, mut not_taken) = (Vec::new(), Committed::default());
    for (item, &from) in items.iter().zip(needed) {
        let (host_id, epoch_id) = item.key();
        match current.get(&host_id) {
            Some(it) if it.epoch_id == epoch_id && it.mark >= from => taken.push(*item),
            Some(it) if it.epoch_id == epoch_id => {
                not_taken.fallen.push(Fallen { host_id, epoch_id, from, to: it.mark });
            }
            _ => not_taken.superseded.push((host_id, epoch_id)),
        }
    }
    let items = taken;

    let verdicts = judge_devices(transaction, &items, kept).await?;
    let mut verdicts_left = verdicts.iter();
    let (mut samples, mut vitals) = (Samples::default(), Vitals::default());
    let mut gaps = Gaps::default();
    let mut refused = Refused::default();
    let mut readings = Vec::new();
    let mut expired = 0;
    let mut facts = ToldFacts::default();
    let mut facts_told = 0;
    let mut refused_before = 0;
    for (item, again) in items.iter().zip(covered(&items)) {
        let record = &item.incoming.record;
        match (item.refused, &record.body) {
            (Some(_), _) | (None, Body::Invalid(_)) if !is_new(item) => refused_before += 1,
            (Some(reason), _) => refused.push(item, reason),
            (None, Body::Sample(sample)) => {
                samples.push(item, sample, 0, again);
                vitals.push(item, sample);
            }
            (None, Body::Devices(devices)) => match verdicts_left.next() {
                Some(Verdict::Take) => readings.push((item, &**devices)),
                _ if !is_new(item) => refused_before += 1,
                Some(Verdict::Refuse(reason)) => refused.push(item, reason),
                Some(Verdict::Expired) | None => expired += 1,
            },
            (None, Body::Gap(gap)) => gaps.push(item, gap),
            (None, Body::Invalid(reason)) => refused.push(item, reason),
            (None, Body::HostFacts(told)) => {
                facts_told += 1;
                if is_new(item) {
                    facts.push(item.incoming, told);
                }
            }
        }
    }

    let mut committed = Committed {
        facts: facts_told,
        duplicates: refused_before,
        expired,
        ..Committed::default()
    };
    if !samples.is_empty() {
        let (stored, _) = store_samples(transaction, &samples, kept).await?;
        committed.add(stored);
    }
    if !vitals.is_empty() {
        store_vitals(transaction, &vitals).await?;
    }
    if !readings.is_empty() {
        committed.add(devices::store(transaction, &readings).await?);
    }
    if gaps.len() > 0 {
        let new = query(transaction, GAPS, &gaps.parameters()).await?;
        committed.gaps += count(new);
        committed.duplicates += count(gaps.len().saturating_sub(new));
    }
    if refused.len() > 0 {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = refused.parameters().into();
        parameters.push(&KEPT_PER_DAY);
        query(transaction, QUARANTINE, &parameters).await?;
        committed.quarantined += count(refused.len());
    }
    facts.tell(transaction).await?;
    query(transaction, MARKS, &Marks::of(&items, &current).parameters()).await?;

    committed.add(not_taken);
    Ok(committed)
}

/// Each host's current epoch and where it stands, as [`LOCK`] or [`REFUSED_HOSTS`] tells them.
async fn current(
    client: &impl GenericClient,
    sql: &str,
    hosts: impl Iterator<Item = HostId>,
) -> Result<BTreeMap<HostId, Standing>, Error> {
    let hosts: BTreeSet<i32> = hosts.map(|host| host.0).collect();
    let hosts: Vec<i32> = hosts.into_iter().collect();
    let statement = client.prepare_cached(sql).await?;
    let mut current = BTreeMap::new();
    for row in client.query(&statement, &[&hosts]).await? {
        if let Some(epoch) = row.try_get(1)? {
            let standing =
                Standing { epoch_id: EpochId(epoch), mark: row.try_get(2)?, due: row.try_get(3)? };
            current.insert(HostId(row.try_get(0)?), standing);
        }
    }
    Ok(current)
}

/// What becomes of each reading of devices that is not refused already.
async fn judge_devices(
    transaction: &Transaction<'_>,
    items: &[Item<'_>],
    kept: Kept,
) -> Result<Vec<Verdict>, Error> {
    let of_devices = |item: &&Item<'_>| {
        item.refused.is_none() && matches!(item.incoming.record.body, Body::Devices(_))
    };
    let times: Vec<_> =
        items.iter().filter(of_devices).map(|item| Time(item.incoming.record.time)).collect();
    if times.is_empty() {
        return Ok(Vec::new());
    }
    devices::judge(transaction, &times, kept).await
}

/// The rows that a statement returned.
pub(super) async fn prepared(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let statement = transaction.prepare_cached(sql).await?;
    Ok(transaction.query(&statement, parameters).await?)
}

/// How many rows a statement returned.
pub(super) async fn query(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<usize, Error> {
    Ok(prepared(transaction, sql, parameters).await?.len())
}
