//! Where the token comes from: a file or standard input, nothing else. What is a flag or a variable
//! of the environment can be read by every process.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rowcall_core::token::Token;

use super::{EnrollError, Why};

/// A token has 128 bytes at most; what follows a page is none.
const MAX_BYTES: u64 = 4096;

/// Standard input, as it is written.
const STDIN: &str = "-";

/// Reads the token. Blocks.
///
/// # Errors
/// What is wrong with it, and never any of its text.
pub(super) fn read(path: &Path) -> Result<Token, EnrollError> {
    let name = if is_stdin(path) {
        "standard input".to_owned()
    } else {
        format!("token file {}", path.display())
    };
    let wrong = |text: String| EnrollError::new(Why::Usage, text);
    let bytes =
        if is_stdin(path) { all(io::stdin().lock()) } else { File::open(path).and_then(all) };
    let bytes = bytes.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "make it readable for the user that enrols",
            _ => "name a file that holds the token",
        };
        wrong(format!("{name} cannot be read: {error}; {advice}"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| wrong(format!("{name}: this is no join token: it is no text")))?;
    Token::parse(&text).map_err(|error| wrong(format!("{name}: {error}")))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

fn all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::token::{Pin, TokenId, TokenSecret};

    #[test]
    fn a_file_gives_the_token_or_what_is_wrong_with_it_and_no_text_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token {
            id: TokenId::new([1; 8]),
            secret: TokenSecret::new([2; 32]),
            pin: Pin::new([3; 32]),
        };
        std::fs::write(&path, format!("\n{}\n", token.reveal())).unwrap();
        assert_eq!(read(&path), Ok(token.clone()));
        let text = token.reveal();
        let (cut, _) = text.split_at(60);
        for (bytes, said) in [
            (&b""[..], "token: the token is empty; give what"),
            (b"\xff\xfe", "is no text"),
            (cut.as_bytes(), "secret is cut off or damaged"),
            (&[b' '; 5000], "is empty"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.text.contains(said), "{error}");
            assert!(!error.text.contains("AgIC"), "{error}");
            assert_eq!(error.why.exit_code(), 2);
        }
        for (path, said) in [
            (folder.path(), "name a file that holds the token"),
            (Path::new("/no"), "check the path"),
        ] {
            let error = read(path).unwrap_err();
            assert!(error.text.contains(said), "{error}");
        }
    }
}
