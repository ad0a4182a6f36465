//! Bytes that are handed over: on their way without anybody waiting for them.

use super::{Dice, listen, on_ring, pair, pause};
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::{Host, Link, flush, read};
use std::io::IoSlice;

/// Goal: what is handed over arrives once, in front of what is sent in any way after it, though
/// the reader is slow at times. Method: pieces from one byte to more than a socket takes, each
/// handed over where that can be, or flushed, or offered to the kernel at once.
#[test]
fn what_is_handed_over_keeps_its_place() {
    const TOTAL: usize = 24 << 20;
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        let lender = pool.clone();
        host.spawn(async move {
            let (mut dice, mut tx) = (Dice(5), TxBuf::new(&lender));
            let (mut put, mut handed, mut refused) = (0, 0, 0);
            while put < TOTAL {
                let most = [300, 40_000, 6_000_000][dice.roll(20) / 9];
                let len = (1 + dice.roll(most)).min(TOTAL - put);
                let piece: Vec<u8> = (put..put + len).map(pattern).collect();
                put += len;
                if dice.roll(4) == 0 {
                    let sent = far.try_send(&[IoSlice::new(&piece)]);
                    tx.put(&piece[sent..]);
                } else {
                    tx.put(&piece);
                }
                if dice.roll(3) > 0 {
                    let is_taken = far.hand_over(&mut tx).unwrap();
                    assert_eq!(is_taken, tx.is_empty());
                    handed += usize::from(is_taken);
                    refused += usize::from(!is_taken);
                }
                if !tx.is_empty() || dice.roll(4) == 0 {
                    flush(&mut far, &mut tx).await.unwrap();
                }
            }
            flush(&mut far, &mut tx).await.unwrap();
            assert!(handed > 20 && refused > 3, "{handed} and {refused}");
            far.finish();
        });
        let (mut rx, mut got) = (RxBuf::new(&pool), 0);
        while read(&mut near, &mut rx).await.unwrap() > 0 {
            if got % 7 == 0 {
                pause(&host, 2).await;
            }
            for &byte in rx.data() {
                assert_eq!(byte, pattern(got), "at {got}");
                got += 1;
            }
            rx.clear();
        }
        assert_eq!(got, TOTAL);
    });
}

fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

/// Goal: what was handed over goes out though its link is dropped at once; and a link whose peer
/// is gone says so at the next flush.
#[test]
fn a_link_that_goes_has_sent_what_it_took() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        tx.put(b"last words");
        assert!(far.hand_over(&mut tx).unwrap() && tx.is_empty());
        drop(far);
        while read(&mut near, &mut rx).await.unwrap() > 0 {}
        assert_eq!(rx.data(), b"last words");

        let (near, mut far) = pair(&host, &listener, at).await;
        drop(near);
        let mut errors = 0;
        for _ in 0..5 {
            tx.put(b"to nobody");
            let handed = far.hand_over(&mut tx);
            errors += usize::from(handed.is_err() || flush(&mut far, &mut tx).await.is_err());
            tx.clear();
            pause(&host, 10).await;
        }
        assert!(errors >= 3, "{errors}");
    });
}
