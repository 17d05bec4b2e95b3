//! RFC 8785 canonical JSON: the one form whose bytes are signed and named by digest.

use serde::Serialize;

/// The canonical bytes of `value`.
///
/// # Errors
/// When the value cannot be written as JSON (a map with keys that are no text, say).
pub fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn members_are_sorted_by_utf16_units() {
        let bytes = canonical_json(&json!({"\u{fb33}": 1, "😀": 2, "a": [true, null, "é"]})).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "{\"a\":[true,null,\"é\"],\"😀\":2,\"\u{fb33}\":1}");
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(map in prop::collection::btree_map(".{0,8}", any::<i32>(), 0..8)) {
            let once = canonical_json(&map).unwrap();
            let value: Value = serde_json::from_slice(&once).unwrap();
            prop_assert_eq!(canonical_json(&value).unwrap(), once);
        }
    }
}
