//! What the service manager hears, from the program itself.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rowcall_postgres::Shutdown;
use rowcall_testkit::database::test_options;
use tokio::net::UnixDatagram;

use crate::process::{code, program, settings, signal};
use crate::rig::PATIENCE;

/// The service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn bind(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    /// The fields of the next message.
    async fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, self.0.recv(&mut bytes))
            .await
            .expect("nothing was said")
            .unwrap();
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The first field that begins like this.
    async fn until(&self, beginning: &str) -> String {
        loop {
            if let Some(field) = self.next().await.into_iter().find(|f| f.starts_with(beginning)) {
                return field;
            }
        }
    }
}

#[tokio::test]
async fn the_service_manager_hears_ready_status_signs_of_life_and_stopping() {
    let mut server = tokio::task::spawn_blocking(|| {
        let mut server = test_options().database("mine").start().unwrap();
        server.stop(Shutdown::Fast).unwrap();
        server
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), &format!("database = '{}'", server.url("mine")));
    let socket = folder.path().join("notify");
    let manager = Manager::bind(&socket);
    let child = program()
        .args(["serve", "--config", &file])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "100000")
        .env_remove("WATCHDOG_PID")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = manager.next().await;
    assert_eq!(first[0], "READY=1", "a database that is away does not keep it from being ready");
    assert!(first[1].starts_with("STATUS=waiting for the database, 0 agents connected: "));
    let reason = manager.until("STATUS=waiting for the database, 0 agents connected: cannot").await;
    assert!(reason.contains("check that PostgreSQL runs there"), "{reason}");
    for _ in 0..3 {
        manager.until("WATCHDOG=1").await;
    }
    server = tokio::task::spawn_blocking(move || {
        server.start().unwrap();
        server
    })
    .await
    .unwrap();
    assert_eq!(manager.until("STATUS=0 agents").await, "STATUS=0 agents connected");
    manager.until("WATCHDOG=1").await;
    signal(&child, "TERM").await;
    manager.until("STOPPING=1").await;
    assert_eq!(code(child).await, Some(0));
    drop(server);
}

#[tokio::test]
async fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().to_str().unwrap().replace('/', "%2F");
    let more = format!("database = 'postgresql://nobody@{nowhere}/x'");
    let file = settings(folder.path(), &more);
    let socket = folder.path().join("notify");
    let manager = Manager::bind(&socket);
    let child = program()
        .args(["serve", "--config", &file])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(manager.next().await[0], "READY=1");
    signal(&child, "TERM").await;
    loop {
        let fields = manager.next().await;
        assert!(!fields.contains(&"WATCHDOG=1".to_owned()), "{fields:?}");
        if fields.contains(&"STOPPING=1".to_owned()) {
            break;
        }
    }
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), code(child)).await.unwrap(), Some(0));
}
