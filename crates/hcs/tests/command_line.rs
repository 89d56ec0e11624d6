//! Command lines are taken apart into what they were made of.

use layerstone_hcs::compute::{LONGEST_COMMAND_LINE, command_line, quote_argument};
use layerstone_hcs::{Error, ErrorKind};
use proptest::prelude::*;

/// What `CommandLineToArgvW` does, written from its documentation and not from the code under test.
fn take_apart(line: &str) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    let mut at = 0;
    let mut words = Vec::new();
    // The program: up to the closing quote, or the first blank.
    let mut program = String::new();
    if characters.first() == Some(&'"') {
        at = 1;
        while at < characters.len() && characters[at] != '"' {
            program.push(characters[at]);
            at += 1;
        }
        at += 1;
    } else {
        while at < characters.len() && characters[at] > ' ' {
            program.push(characters[at]);
            at += 1;
        }
    }
    words.push(program);
    loop {
        while at < characters.len() && matches!(characters[at], ' ' | '\t') {
            at += 1;
        }
        if at >= characters.len() {
            return words;
        }
        let (mut word, mut quoted) = (String::new(), false);
        while at < characters.len() && (quoted || !matches!(characters[at], ' ' | '\t')) {
            let start = at;
            while at < characters.len() && characters[at] == '\\' {
                at += 1;
            }
            let backslashes = at - start;
            if characters.get(at) == Some(&'"') {
                word.extend(std::iter::repeat_n('\\', backslashes / 2));
                at += 1;
                if backslashes % 2 == 1 {
                    word.push('"');
                } else {
                    quoted = !quoted;
                }
            } else {
                word.extend(std::iter::repeat_n('\\', backslashes));
                if backslashes == 0 {
                    word.push(characters[at]);
                    at += 1;
                }
            }
        }
        words.push(word);
    }
}

/// What this Windows does.
#[cfg(windows)]
#[allow(unsafe_code)]
fn take_apart_by_windows(line: &str) -> Vec<String> {
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::UI::Shell::CommandLineToArgvW;
    let wide: Vec<u16> = line.encode_utf16().chain([0]).collect();
    let mut count = 0;
    // SAFETY: the line ends with NUL; `count` is a place for the number.
    let words = unsafe { CommandLineToArgvW(wide.as_ptr(), &raw mut count) };
    assert!(!words.is_null());
    let read = |index: usize| {
        // SAFETY: there are `count` pointers, each to a string that ends with NUL.
        let word = unsafe { *words.add(index) };
        // SAFETY: as above.
        let units = (0..).map(|at| unsafe { *word.add(at) }).take_while(|unit| *unit != 0);
        String::from_utf16(&units.collect::<Vec<u16>>()).unwrap()
    };
    let read: Vec<String> = (0..usize::try_from(count).unwrap()).map(read).collect();
    // SAFETY: the memory is of `LocalAlloc`, and is freed once.
    unsafe { LocalFree(words.cast()) };
    read
}

#[track_caller]
fn assert_survives(words: &[String]) {
    let line = command_line(words).unwrap();
    assert_eq!(take_apart(&line), words, "{line}");
    #[cfg(windows)]
    assert_eq!(take_apart_by_windows(&line), words, "{line}");
}

#[test]
fn words_are_quoted_as_windows_takes_them_apart() {
    for (word, quoted) in [
        ("plain", "plain"),
        ("", r#""""#),
        ("two words", r#""two words""#),
        (r"C:\a\", r"C:\a\"),
        (r"C:\a b\", r#""C:\a b\\""#),
        (r#"say "hi""#, r#""say \"hi\"""#),
        (r#"\""#, r#""\\\"""#),
        (r"a\\b", r"a\\b"),
        ("tab\there", "\"tab\there\""),
        ("%PATH% & ^ |", "\"%PATH% & ^ |\""),
    ] {
        assert_eq!(quote_argument(word).unwrap(), quoted);
        assert_survives(&["program.exe".to_owned(), word.to_owned()]);
    }
    assert_eq!(command_line(&[r"C:\Program Files\a.exe", "x"]).unwrap(), r#""C:\Program Files\a.exe" x"#);
    assert_survives(&[r"C:\a\".to_owned()]);
}

#[test]
fn what_no_command_line_can_say_is_refused() {
    let none: [&str; 0] = [];
    let too_long = ["program".to_owned(), "x".repeat(LONGEST_COMMAND_LINE)];
    for error in [
        command_line(&none).unwrap_err(),
        command_line(&[""]).unwrap_err(),
        command_line(&["a\"b"]).unwrap_err(),
        command_line(&["a\0b"]).unwrap_err(),
        command_line(&["a", "b\0"]).unwrap_err(),
        command_line(&too_long).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let longest = LONGEST_COMMAND_LINE - "program ".len() - 1;
    assert!(command_line(&["program".to_owned(), "x".repeat(longest)]).is_ok());
    assert!(command_line(&["program".to_owned(), "x".repeat(longest + 1)]).is_err());
}

proptest! {
    #[test]
    fn every_list_of_words_survives(
        program in r#"[^"\u{0}]{1,12}"#,
        words in prop::collection::vec(r#"([ab \t"\\]|\\{1,4}"){0,10}|[^\u{0}]{0,12}"#, 0..5),
    ) {
        let words: Vec<String> = std::iter::once(program).chain(words).collect();
        assert_survives(&words);
    }
}
