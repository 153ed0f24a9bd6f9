//! URLs as they may be printed, and whether they hold a password: as [`url::parse`] reads them, so
//! that both mean the same.

use super::url::{self, Parts};

/// Stands where a password was.
const HIDDEN: &str = "********";
/// Stands for what cannot be read: any piece of it may be a password.
const NOT_SHOWN: &str = "(cannot be read; not shown)";

/// The URL with every password hidden, made of what was read of it. What cannot be read is not
/// shown at all.
#[must_use]
pub fn url_shown(url: &str) -> String {
    shown(url).unwrap_or_else(|| NOT_SHOWN.to_owned())
}

/// Whether the URL holds a password, or cannot be read and so may hold one.
#[must_use]
pub fn url_has_password(url: &str) -> bool {
    match url::parse(url) {
        Ok(given) => given.config.get_password().is_some_and(|password| !password.is_empty()),
        Err(_) => {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.contains([':', '@']) || rest.to_ascii_lowercase().contains("pass")
        }
    }
}

fn shown(url: &str) -> Option<String> {
    url::parse(url).ok()?;
    let hidden = |key: &str, value: &str| key == "password" && !value.is_empty();
    let shown = match url::take_apart(url).ok()? {
        Parts::Line(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| {
                let value = if hidden(key, value) { HIDDEN } else { value };
                // Only where it must be: as people write it.
                if value.is_empty()
                    || value.contains(|c: char| c.is_whitespace() || "\\'".contains(c))
                {
                    url::line_pair(key, value)
                } else {
                    format!("{key}={value}")
                }
            });
            pairs.collect::<Vec<_>>().join(" ")
        }
        Parts::Url { scheme, base, pairs } => {
            let base = match base.split_once('@').map(|(who, rest)| (who.split_once(':'), rest)) {
                Some((Some((user, password)), rest)) if !password.is_empty() => {
                    format!("{user}:{HIDDEN}@{rest}")
                }
                _ => base.to_owned(),
            };
            let pairs = pairs.iter().map(|(key, value)| {
                format!("{key}={}", if hidden(key, value) { HIDDEN } else { value })
            });
            let query = pairs.collect::<Vec<_>>().join("&");
            format!("{scheme}{base}{}{query}", if query.is_empty() { "" } else { "?" })
        }
    };
    // Read again, it has no password but the one that stands for it.
    let read = url::parse(&shown).ok()?;
    let password = read.config.get_password().unwrap_or_default();
    (password.is_empty() || password == HIDDEN.as_bytes()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_and_hidden_wherever_they_stand() {
        for (url, expected) in [
            ("postgresql://u:secret@db/x", "postgresql://u:********@db/x"),
            (
                "postgresql://u:pa?SECRETxx@localhost:1/host_agent",
                "postgresql://u:********@localhost:1/host_agent",
            ),
            ("postgresql://u:se/cret@db/x", "postgresql://u:********@db/x"),
            ("postgresql://u:s:ecret@db/x?", "postgresql://u:********@db/x"),
            (
                "postgresql://db/x?user=u&pass%77ord=SECRET",
                "postgresql://db/x?user=u&password=********",
            ),
            (
                "postgresql://u:secret@db/x?password=secret&password=secret&sslmode=require",
                "postgresql://u:********@db/x?password=********&password=********&sslmode=require",
            ),
            ("host=db password=secret dbname=x", "host=db password=******** dbname=x"),
            (r"password='with \' secret' host = 'a b'", NOT_SHOWN),
            (r"password='with \' secret' host='db'", "password=******** host=db"),
            ("host=db password = secret\\ secret", "host=db password=********"),
        ] {
            assert!(url_has_password(url), "{url}");
            assert_eq!(url_shown(url), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown_and_may_hold_a_password() {
        for url in [
            "postgresql://u:secret",
            "postgres:/u:secret@h",
            "postgresql://db/x?password=a&secret",
            "postgresql://u:a@secret@db/x",
            "postgresql://u:a@sec/ret@db/x",
            "postgresql:///x?PASSWORD=secret",
            "host=db password='secret",
            "u:secret@db/x",
            "mysql://u:secret@db/x",
            "host=db dbname=postgresql://u:secret@db/x",
        ] {
            assert!(url_has_password(url), "{url}");
            assert_eq!(url_shown(url), NOT_SHOWN, "{url}");
        }
        for url in ["host=db user=u pasword=secret", "secret", "postgresql://db/x?geheim", ""] {
            assert_eq!(url_shown(url), NOT_SHOWN, "{url}");
        }
    }

    #[test]
    fn urls_without_a_password_stay_as_they_are() {
        for url in [
            "postgresql://rowcall@%2Ftmp%2Frc-1:5432/host_agent",
            "postgresql://u@db/host_agent?passfile=/etc/rowcall/pgpass",
            "postgresql:///x?host=/run/pg&user=u@dom&passfile=/p@q&options=-c%20a%3Db",
            "host=db user=rowcall passfile=/etc/rowcall/pgpass",
            r"host=db dbname='a b\'c\\d' options='' user=u",
            "postgresql://rowcall:@db/x",
        ] {
            assert!(!url_has_password(url), "{url}");
            assert_eq!(url_shown(url), url);
        }
    }
}
