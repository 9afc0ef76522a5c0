//! Bytes as text.

/// Bytes as hexadecimal digits.
#[must_use]
pub fn digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |number: u8| char::from(DIGITS[usize::from(number)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Digits as bytes; `None` if they are none.
#[must_use]
pub fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let number = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let pairs = digits.chunks(2).map(|pair| Some(number(pair[0])? << 4 | number(*pair.get(1)?)?));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_bytes_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(digits(&all).as_bytes()), Some(all));
        assert_eq!((bytes(b"0"), bytes(b"0g"), bytes(b"")), (None, None, Some(Vec::new())));
    }
}
