//! How soon a dead link is given up, and which of several servers is taken.

use super::*;

fn config_of(url: &str) -> Config {
    let connector = Connector::new(url, "", Duration::from_secs(5)).unwrap();
    connector.servers.into_iter().next().unwrap().config
}

#[test]
fn a_dead_link_is_given_up_in_ten_seconds_unless_the_url_says_otherwise() {
    let seconds = |config: &Config| {
        let idle = config.get_keepalives_idle().as_secs();
        let interval = config.get_keepalives_interval().map(|time| time.as_secs());
        let timeout = config.get_tcp_user_timeout().map(Duration::as_secs);
        (idle, interval, config.get_keepalives_retries(), timeout)
    };
    let plain = config_of("postgresql://u@db/x");
    assert!(plain.get_keepalives());
    assert_eq!(seconds(&plain), (5, Some(2), Some(3), Some(10)));
    let chosen =
        "keepalives_idle=70&keepalives_interval=8&keepalives_retries=9&tcp_user_timeout=60";
    let chosen = config_of(&format!("postgresql://u@db/x?{chosen}"));
    assert_eq!(seconds(&chosen), (70, Some(8), Some(9), Some(60)));
    let line = config_of("host=db user=u tcp_user_timeout=61 keepalives=0");
    assert_eq!(seconds(&line).3, Some(61));
    assert!(!line.get_keepalives());
}

#[test]
fn of_several_servers_the_one_that_writes_is_taken_unless_the_url_says_otherwise() {
    use TargetSessionAttrs::{Any, ReadWrite};
    for (url, attrs) in [
        ("postgresql://u@a/x", Any),
        ("postgresql://u@a/x?target_session_attrs=read-write", ReadWrite),
        ("postgresql://u@a,b/x", ReadWrite),
        ("host=a,b user=u", ReadWrite),
        ("postgresql://u@a,b/x?target_session_attrs=any", Any),
        ("host=a,b user=u target_session_attrs=any", Any),
    ] {
        assert_eq!(config_of(url).get_target_session_attrs(), attrs, "{url}");
    }
}
