//! Hostile text for the parser of calls: whatever it takes can be written again and is then the same.

#![no_main]

use agentkernel_core::Call;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(call) = text.parse::<Call>() else { return };
    let arguments: Vec<_> = call.arguments.iter().map(ToString::to_string).collect();
    let again = format!("{}({})", call.function, arguments.join(","));
    assert_eq!(again.parse::<Call>().as_ref(), Ok(&call), "{again}");
});
