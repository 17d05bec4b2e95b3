//! Characters that must not stand in a name or text that people judge by looking.

/// The first character of `text` that is not seen, breaks the line, or changes how others are read: controls, bidi
/// controls, zero-width and other format characters, fillers, variation selectors, private use (Unicode TR36 §2.5).
#[must_use]
pub fn unseen(text: &str) -> Option<char> {
    text.chars().find(|c| is_unseen(*c))
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_passes_in_any_language() {
        for text in ["", "Søren's <place>", "Größe: 5 GB", "天気予報", "عربي", "é", "😀"] {
            assert_eq!(unseen(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_seen_or_turns_others_is_found() {
        for c in ['\n', '\u{7f}', '\u{ad}', '\u{61c}', '\u{200b}', '\u{200d}', '\u{202e}', '\u{2066}', '\u{2069}']
            .into_iter()
            .chain(['\u{2028}', '\u{3164}', '\u{fe0f}', '\u{feff}', '\u{e000}', '\u{e0041}', '\u{10ffff}'])
        {
            assert_eq!(unseen(&format!("a{c}b")), Some(c), "U+{:04X}", u32::from(c));
        }
    }
}
