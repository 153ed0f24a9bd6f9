//! Windows are the same whatever the session's time zone, and on days that have not 24 hours.

use rowcall_core::id::UnixMicros;

use crate::world::{FILES, World, at};

/// 2026-10-25 00:00:00 UTC in seconds: at 01:00 UTC summer time ends in London.
const CHANGE: i64 = 1_792_886_400;

/// A file with other parameters, asked in a time zone; windows as Unix seconds.
async fn ask(world: &World, zone: &str, report: &str, window: &str) -> Vec<String> {
    world.sql.batch_execute(&format!("SET TIME ZONE '{zone}'")).await.unwrap();
    let file = FILES.iter().find(|(name, _)| *name == report).unwrap().1;
    let parameters = format!(
        "WITH params AS NOT MATERIALIZED (SELECT to_timestamp({from}) AS from_ts,
             to_timestamp({to}) AS to_ts, interval '{window}' AS window_len, NULL::int AS min_samples,
             '{{}}'::jsonb AS labels, '' AS name_glob, to_timestamp({now}) AS now_ts),",
        from = CHANGE - 2 * 3_600,
        to = CHANGE + 26 * 3_600,
        now = CHANGE + 40 * 3_600,
    );
    let lines = file
        .lines()
        .map(|line| if line.starts_with("WITH params AS") { parameters.as_str() } else { line });
    let file = lines.collect::<Vec<_>>().join("\n");
    let rows = world
        .sql
        .query(
            &format!(
                "SELECT concat_ws(' ', extract(epoch FROM window_start)::bigint,
                                  to_jsonb(r) - 'window_start' - 'last_sample_at')
                   FROM ({}) AS r",
                file.trim_end().trim_end_matches(';')
            ),
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn world() -> World {
    let world = World::around(UnixMicros(CHANGE * 1_000_000)).await;
    let start = UnixMicros((CHANGE - 4 * 3_600) * 1_000_000);
    let host = world.host_joined("a", start).await;
    world.samples(host, start, 60, 32 * 60).await;
    assert!(start < at(0, 0, 0));
    world
}

#[tokio::test]
async fn a_day_with_a_change_of_summer_time_has_all_its_windows_once() {
    let world = world().await;
    let utc = ask(&world, "UTC", "roll", "1 hour").await;
    // 22:00 of the 24th to 02:00 of the 26th.
    assert_eq!(utc.len(), 28);
    for (index, row) in utc.iter().enumerate() {
        let start = CHANGE + (i64::try_from(index).unwrap() - 2) * 3_600;
        assert!(row.starts_with(&start.to_string()), "{row}");
        assert!(row.contains("complete") && row.contains("\"samples\": 60"), "{row}");
    }
    for zone in ["Europe/London", "America/New_York"] {
        assert_eq!(ask(&world, zone, "roll", "1 hour").await, utc, "{zone}");
    }
}

#[tokio::test]
async fn a_window_of_a_day_has_24_hours_everywhere() {
    let world = world().await;
    let utc = ask(&world, "UTC", "roll", "1 day").await;
    assert_eq!(utc.len(), 3);
    assert!(utc[1].contains("\"samples\": 1440"), "{}", utc[1]);
    for zone in ["Europe/London", "Asia/Kolkata"] {
        assert_eq!(ask(&world, zone, "roll", "1 day").await, utc, "{zone}");
    }
}

#[tokio::test]
async fn a_zone_with_half_an_hour_moves_no_window() {
    let world = world().await;
    for report in ["roll", "memory", "balance"] {
        let utc = ask(&world, "UTC", report, "1 hour").await;
        assert_eq!(utc.len(), 28, "{report}");
        assert_eq!(ask(&world, "Asia/Kolkata", report, "1 hour").await, utc, "{report}");
    }
}
