//! Hostile text from a machine, and for one: digits, words and numbers are what they were written from, or nothing.

#![no_main]

use agentkernel_hypercalls::{Words, bytes, digits};
use agentkernel_instance::{from_text, to_text};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(read) = bytes(text.as_bytes()) {
        assert_eq!(digits(&read), text.to_ascii_lowercase());
    }
    if let Some(words) = Words::parse(text) {
        assert_eq!(Words::parse(&words.to_text()), Some(words));
    }
    if let Some(numbers) = from_text(text) {
        let again = to_text(&numbers).expect("numbers");
        assert_eq!(from_text(&again).and_then(|numbers| to_text(&numbers)), Some(again));
    }
});
