#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    portreeve::catalog::mistakes_in("provider.toml", text);
    portreeve::catalog::mistakes_in("services/x.toml", text);
});
