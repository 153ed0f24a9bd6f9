//! The join token that a node trades for its certificate: `rc1.ID.SECRET.PIN`.
//!
//! The pin names the authority that the server must be certified by, so that the secret goes to
//! nobody else. Only a hash of the secret is ever stored. No error repeats any part of a token, and
//! `Debug` shows its id alone.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

/// What a token of this format begins with.
const FORMAT: &str = "rc1";

/// No token is longer, in bytes.
const MAX_TOKEN_BYTES: usize = 128;

/// A token's number: not secret, shown in lists and logs as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 8]);

impl TokenId {
    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token's id has 16 hexadecimal digits, as `rowcall token list` shows it")]
pub struct InvalidTokenId;

impl FromStr for TokenId {
    type Err = InvalidTokenId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidTokenId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidTokenId)
    }
}

/// A token's secret: 32 random bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret([u8; 32]);

impl TokenSecret {
    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be hashed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// An authority, by the SHA-256 of its public key (`SubjectPublicKeyInfo`, DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// From the hash.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A whole token. `Display` would show the secret, so there is none: see [`Token::reveal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: TokenId,
    /// What proves that its holder was given it.
    pub secret: TokenSecret,
    /// Whom the server must be certified by.
    pub pin: Pin,
}

/// Why a text is no token. Never repeats any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// There is nothing but white space.
    #[error("the token is empty; give what `rowcall token create` printed")]
    Empty,
    /// It begins with something else than `rc1.`.
    #[error("this is no join token: one begins with rc1. and has no spaces inside")]
    Format,
    /// A part is missing, cut off or changed.
    #[error("the token's {0} is cut off or damaged; copy it again, whole")]
    Part(&'static str),
}

impl Token {
    /// The token as people pass it on. A secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let secret = BASE64URL_NOPAD.encode(&self.secret.0);
        let pin = BASE64URL_NOPAD.encode(&self.pin.0);
        format!("{FORMAT}.{}.{secret}.{pin}", self.id)
    }

    /// Reads a token; white space around it is no part of it.
    ///
    /// # Errors
    /// [`InvalidToken`] says which part is wrong and repeats none.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidToken::Empty);
        }
        let mut parts = text.split('.');
        if parts.next() != Some(FORMAT) || text.contains(char::is_whitespace) {
            return Err(InvalidToken::Format);
        }
        let id = parts.next().and_then(|id| id.parse().ok()).ok_or(InvalidToken::Part("id"))?;
        let secret = parts.next().and_then(hash).ok_or(InvalidToken::Part("secret"))?;
        let pin = parts.next().and_then(hash).ok_or(InvalidToken::Part("pin"))?;
        if parts.next().is_some() || text.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Part("end"));
        }
        Ok(Self { id, secret: TokenSecret(secret), pin: Pin(pin) })
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(id: [u8; 8], secret: [u8; 32], pin: [u8; 32]) -> Token {
        Token { id: TokenId(id), secret: TokenSecret(secret), pin: Pin(pin) }
    }

    #[test]
    fn a_cut_or_changed_token_is_told_by_part_and_never_repeated() {
        let whole = token([0xab; 8], [0xcd; 32], [0xef; 32]).reveal();
        for end in 0..whole.len() {
            let cut = &whole.get(..end).unwrap();
            let said = Token::parse(cut).unwrap_err().to_string();
            assert!(end < 6 || !said.contains(cut), "{said}");
        }
        for bad in ["x", "rc2.a.b.c", "rc1.a b", &format!("{whole}.x"), &whole.to_uppercase()] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_but_reveal_shows_the_secret() {
        let token = token([1; 8], [2; 32], [3; 32]);
        let secret = BASE64URL_NOPAD.encode(&[2; 32]);
        assert!(token.reveal().contains(&secret));
        assert!(!format!("{token:?}").contains(&secret));
        assert!(format!("{token:?}").contains("0101010101010101"));
    }

    proptest! {
        #[test]
        fn what_is_revealed_is_read_back(id: [u8; 8], secret: [u8; 32], pin: [u8; 32]) {
            let token = token(id, secret, pin);
            prop_assert_eq!(Token::parse(&format!(" {}\n", token.reveal())), Ok(token));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(Token::parse(&text));
        }
    }
}
