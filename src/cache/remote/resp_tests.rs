//! The protocol's codec: cut everywhere, nested, long, wrong.

use super::*;
use crate::base::bufpool::BufPool;
use proptest::prelude::*;

/// All replies in `data`, given to the scanner in pieces that end at `cuts`.
fn replies(data: &[u8], cuts: &[usize]) -> Result<Vec<Reply>, RespError> {
    let (mut scanner, mut all, mut held) = (Scanner::default(), Vec::new(), Vec::new());
    let mut before = 0;
    for &cut in cuts.iter().chain([&data.len()]) {
        let cut = cut.clamp(before, data.len());
        held.extend_from_slice(&data[before..cut]);
        before = cut;
        while let Some(len) = scanner.push(&held)? {
            all.push(read(&held[..len])?);
            held.drain(..len);
        }
    }
    Ok(all)
}

fn bytes(text: &[u8]) -> Reply {
    Reply::Bytes(text.to_vec())
}

/// Goal: every type of both versions is read, and S1. Method: a table; each stream is cut at
/// every pair of places.
#[test]
fn every_reply_is_read_however_it_is_cut() {
    let word = |text: &[u8]| Reply::Word(text.to_vec());
    let error = |text: &[u8]| Reply::Error(text.to_vec());
    let cases: Vec<(&[u8], Vec<Reply>)> = vec![
        (b"+OK\r\n+\r\n", vec![word(b"OK"), word(b"")]),
        (b"-ERR no\r\n", vec![error(b"ERR no")]),
        (
            b":-12\r\n:+3\r\n",
            vec![Reply::Number(-12), Reply::Number(3)],
        ),
        (
            b"$5\r\na\r\nb\x00\r\n$0\r\n\r\n",
            vec![bytes(b"a\r\nb\0"), bytes(b"")],
        ),
        (
            b"$-1\r\n*-1\r\n_\r\n",
            vec![Reply::Null, Reply::Null, Reply::Null],
        ),
        (
            b"*3\r\n*0\r\n*1\r\n$1\r\nx\r\n:7\r\n+A\r\n",
            vec![
                Reply::List(vec![
                    Reply::List(vec![]),
                    Reply::List(vec![bytes(b"x")]),
                    Reply::Number(7),
                ]),
                word(b"A"),
            ],
        ),
        (b",1.5\r\n#t\r\n#f\r\n(99\r\n", {
            vec![
                bytes(b"1.5"),
                Reply::Number(1),
                Reply::Number(0),
                bytes(b"99"),
            ]
        }),
        (
            b"!3\r\nERR\r\n=6\r\ntxt:ab\r\n",
            vec![error(b"ERR"), bytes(b"ab")],
        ),
        (
            b"%1\r\n+k\r\n~1\r\n:1\r\n>1\r\n+m\r\n",
            vec![
                Reply::List(vec![word(b"k"), Reply::List(vec![Reply::Number(1)])]),
                Reply::Push(vec![word(b"m")]),
            ],
        ),
        (
            b"|1\r\n+a\r\n:1\r\n*1\r\n|1\r\n+b\r\n+c\r\n:2\r\n:3\r\n",
            vec![Reply::List(vec![Reply::Number(2)]), Reply::Number(3)],
        ),
    ];
    for (data, want) in &cases {
        for i in 0..=data.len() {
            for j in i..=data.len() {
                let got = replies(data, &[i, j]);
                assert_eq!(
                    got.as_ref(),
                    Ok(want),
                    "{} cut at {i}, {j}",
                    data.escape_ascii()
                );
            }
        }
    }
}

/// Goal: S2. Method: what no server may send; each is refused, at the latest when it is whole.
#[test]
fn what_is_no_reply_is_refused() {
    let cases: [(&[u8], RespError); 18] = [
        (b"HTTP/1.1 400", RespError::Type(b'H')),
        (b"\r\n", RespError::Type(b'\r')),
        (b"*1\r\nx", RespError::Type(b'x')),
        (b":\r\n", RespError::Number),
        (b":1x\r\n", RespError::Number),
        (b"$+1\r\n", RespError::Number),
        (b"$\r\n", RespError::Number),
        (b"$-2\r\n", RespError::Number),
        (b"$?\r\n", RespError::Number),
        (b"*99999999999999999999\r\n", RespError::Number),
        (b"%9223372036854775807\r\n", RespError::Long),
        (b"*4294967296\r\n", RespError::Long),
        (b"$99999999\r\n", RespError::Long),
        (b"#x\r\n", RespError::Number),
        (b"+a\n", RespError::End),
        (b"+a\rb\r\n", RespError::End),
        (b"$1\r\nab\r\n", RespError::End),
        (b"$1\r\na\rx", RespError::End),
    ];
    for (data, want) in cases {
        assert_eq!(replies(data, &[]), Err(want), "{}", data.escape_ascii());
    }
    let line = [b"+".as_slice(), &vec![b'a'; LINE_MAX + 1]].concat();
    assert_eq!(replies(&line, &[]), Err(RespError::LongLine));
    let deep = b"*1\r\n".repeat(200_000);
    assert_eq!(replies(&deep, &[]), Err(RespError::Depth));
    let many = [b"*4000000\r\n".as_slice(), &b":1\r\n".repeat(2_000_000)].concat();
    assert_eq!(replies(&many, &[]), Err(RespError::Long));
}

/// Goal: what is written is what a server reads. Method: a command is itself a reply's list.
#[test]
fn commands_are_lists_of_bytes() {
    let mut tx = TxBuf::new(&BufPool::new());
    let words: [&[u8]; 3] = [b"SET", b"k\r\n", b""];
    put_command(&mut tx, &words);
    assert_eq!(tx.unsent(), b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    let list = words.map(bytes).to_vec();
    assert_eq!(replies(tx.unsent(), &[5, 9]), Ok(vec![Reply::List(list)]));
    assert!(tx.len() <= command_len(&words));
}

/// A reply with its bytes.
fn any_reply() -> impl Strategy<Value = (Vec<u8>, Reply)> {
    let text = proptest::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        text.prop_map(|text| {
            let data = [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat();
            (data, Reply::Bytes(text))
        }),
        any::<i64>().prop_map(|n| (format!(":{n}\r\n").into_bytes(), Reply::Number(n))),
        Just((b"$-1\r\n".to_vec(), Reply::Null)),
        "[a-zA-Z ]{0,12}".prop_map(|word| {
            (
                format!("-{word}\r\n").into_bytes(),
                Reply::Error(word.into_bytes()),
            )
        }),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        proptest::collection::vec(inner, 0..6).prop_map(|parts| {
            let mut data = format!("*{}\r\n", parts.len()).into_bytes();
            let (bytes, list): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            data.extend(bytes.concat());
            (data, Reply::List(list))
        })
    })
}

proptest! {
    /// Goal: S1. Method: any replies in a row, in any pieces.
    #[test]
    fn pieces_change_nothing(
        parts in proptest::collection::vec(any_reply(), 1..6),
        mut cuts in proptest::collection::vec(0_usize..2000, 0..12),
    ) {
        cuts.sort_unstable();
        let (data, want): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        prop_assert_eq!(replies(&data.concat(), &cuts), Ok(want));
    }

    /// Goal: R1, S1. Method: any bytes out of the protocol's alphabet, in any pieces: no panic,
    /// and the same outcome as in one piece.
    #[test]
    fn any_bytes_end_in_a_value(
        data in "[-+:$*_,#(!=~%>|0-9a\r\n]{0,80}",
        mut cuts in proptest::collection::vec(0_usize..80, 0..6),
    ) {
        cuts.sort_unstable();
        prop_assert_eq!(replies(data.as_bytes(), &cuts), replies(data.as_bytes(), &[]));
    }
}
