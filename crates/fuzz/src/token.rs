//! A join token.

use rowcall_core::token::Token;

/// A token as somebody typed it.
///
/// # Panics
/// If a text is taken that is not what the token's maker gave out; a bug.
#[must_use]
pub fn token(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(token) = Token::parse(text) else { return false };
    assert_eq!(token.reveal(), text.trim(), "one token has one text");
    true
}
