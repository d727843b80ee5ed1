//! PEM (RFC 7468): base64 between two lines that say what it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Most blocks of one file.
const MOST: usize = 64;

/// All blocks of a text that are called `title`.
///
/// # Errors
/// A block is damaged, or there are too many.
pub fn all(text: &[u8], title: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut rest = std::str::from_utf8(text).map_err(|_| "it is not PEM")?;
    let (begin, end) = (format!("-----BEGIN {title}-----"), format!("-----END {title}-----"));
    let mut blocks = Vec::new();
    while let Some((_, begun)) = rest.split_once(&begin) {
        let (body, after) = begun.split_once(&end).ok_or("its PEM has no end")?;
        rest = after;
        let body: String = body.split_whitespace().collect();
        blocks.push(STANDARD.decode(body).map_err(|_| "its PEM is damaged")?);
        if blocks.len() > MOST {
            return Err(format!("it holds more than {MOST} blocks"));
        }
    }
    Ok(blocks)
}

/// The first block of a text that is called `title`.
pub fn first(text: &[u8], title: &str) -> Result<Vec<u8>, String> {
    let blocks = all(text, title)?;
    blocks.into_iter().next().ok_or_else(|| format!("it holds no {title} in PEM"))
}
