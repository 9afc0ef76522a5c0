//! Paths of requests: whatever a word holds, it stays one word.

/// A path that grows part by part.
#[derive(Debug, Clone)]
pub(crate) struct RequestPath {
    text: String,
    has_query: bool,
}

impl RequestPath {
    /// A route, as it is.
    pub(crate) fn new(route: &str) -> Self {
        Self { text: route.to_owned(), has_query: false }
    }

    /// The path of a sandbox.
    pub(crate) fn sandbox(id: &str) -> Self {
        Self::new("/v1/sandboxes").word(id)
    }

    /// One more part, which cannot become two.
    pub(crate) fn word(mut self, word: &str) -> Self {
        self.text.push('/');
        encode(&mut self.text, word.as_bytes());
        self
    }

    /// More parts, as they are.
    pub(crate) fn then(mut self, route: &str) -> Self {
        self.text.push_str(route);
        self
    }

    /// A parameter of the query.
    pub(crate) fn query(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        encode(&mut self.text, value.as_ref());
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Everything but what RFC 3986 calls unreserved becomes `%XX`, and so does `..`.
fn encode(text: &mut String, bytes: &[u8]) {
    let dots = bytes == b"." || bytes == b"..";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(byte) || (*byte == b'.' && !dots) {
            text.push(char::from(*byte));
        } else {
            text.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

fn digit(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_cannot_become_another_route() {
        assert_eq!(
            RequestPath::sandbox("a/../b?x=1#y").then("/exec").as_str(),
            "/v1/sandboxes/a%2F..%2Fb%3Fx%3D1%23y/exec"
        );
        assert_eq!(RequestPath::sandbox("..").as_str(), "/v1/sandboxes/%2E%2E");
    }

    #[test]
    fn a_query_carries_every_byte() {
        let path =
            RequestPath::sandbox("a").then("/files").query("path", b"/x y&\xff").query("follow", "true");
        assert_eq!(path.as_str(), "/v1/sandboxes/a/files?path=%2Fx%20y%26%FF&follow=true");
    }
}
