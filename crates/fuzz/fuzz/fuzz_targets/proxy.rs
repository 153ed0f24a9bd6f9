#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _good: bool = rowcall_fuzz::proxy(bytes);
});
