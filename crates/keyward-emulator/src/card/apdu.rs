//! Command APDUs to parts, and long responses back in pieces.
//!
//! ISO/IEC 7816-4 section 5: short and extended lengths, command chaining (CLA bit 10), GET RESPONSE.
//! Clients leave Le out where the standard asks for it, and mean "as much as there is".
//! This room knows no applet.

use zeroize::Zeroizing;

use super::status::Sw;

/// GET RESPONSE, ISO/IEC 7816-4 section 7.6.1.
const INS_GET_RESPONSE: u8 = 0xC0;
/// What a chain of commands may add up to; a YubiKey's objects end near 3,052 bytes.
const CHAIN_LIMIT: usize = 4096;

/// A command with its data complete: chained parts are already joined.
pub(crate) struct Command {
    /// Instruction.
    pub(crate) ins: u8,
    /// First parameter.
    pub(crate) p1: u8,
    /// Second parameter.
    pub(crate) p2: u8,
    /// The data field; may hold a PIN or a key.
    pub(crate) data: Zeroizing<Vec<u8>>,
    /// How many bytes the client takes at once, 1 to 65,536.
    le: usize,
}

struct Parsed<'a> {
    cla: u8,
    ins: u8,
    p1: u8,
    p2: u8,
    data: &'a [u8],
    le: usize,
}

fn parse(apdu: &[u8]) -> Option<Parsed<'_>> {
    let (&[cla, ins, p1, p2], body) = apdu.split_first_chunk()?;
    let (data, le) = parse_body(body)?;
    Some(Parsed { cla, ins, p1, p2, data, le })
}

/// The data field and Le (256 or 65,536 where it is absent or zero).
fn parse_body(body: &[u8]) -> Option<(&[u8], usize)> {
    const SHORT: usize = 256;
    const EXTENDED: usize = 65536;
    let or = |le: u16, all: usize| if le == 0 { all } else { usize::from(le) };
    match body {
        [] => Some((&[], SHORT)),
        [le] => Some((&[], or(u16::from(*le), SHORT))),
        [0, high, low] => Some((&[], or(u16::from_be_bytes([*high, *low]), EXTENDED))),
        [0, high, low, rest @ ..] => {
            let lc = usize::from(u16::from_be_bytes([*high, *low]));
            let (data, le) = rest.split_at_checked(lc)?;
            match le {
                _ if lc == 0 => None,
                [] => Some((data, EXTENDED)),
                [high, low] => Some((data, or(u16::from_be_bytes([*high, *low]), EXTENDED))),
                _ => None,
            }
        }
        [lc, rest @ ..] => {
            let (data, le) = rest.split_at_checked(usize::from(*lc))?;
            match le {
                _ if *lc == 0 => None,
                [] => Some((data, SHORT)),
                [le] => Some((data, or(u16::from(*le), SHORT))),
                _ => None,
            }
        }
    }
}

/// What an incoming APDU asks of the card.
pub(crate) enum Incoming {
    /// A whole command for an applet.
    Command(Command),
    /// Already answered here: a chained part, a GET RESPONSE or a malformed command.
    Answered(Vec<u8>),
}

/// The state between APDUs: the parts of a chain that came, the part of a response that waits.
#[derive(Default)]
pub(crate) struct Channel {
    chain: Option<Chain>,
    waiting: Zeroizing<Vec<u8>>,
}

struct Chain {
    header: [u8; 3],
    data: Zeroizing<Vec<u8>>,
}

impl Channel {
    /// Takes one APDU and says whether a command is complete.
    pub(crate) fn receive(&mut self, apdu: &[u8]) -> Incoming {
        let Some(parsed) = parse(apdu) else {
            self.clear();
            return answered(Sw::WRONG_LENGTH);
        };
        let Parsed { cla, ins, p1, p2, data, le } = parsed;
        if cla & !0x10 != 0 {
            self.clear();
            return answered(Sw::WRONG_CLA);
        }
        if ins == INS_GET_RESPONSE && cla == 0 {
            self.chain = None;
            let waiting = std::mem::take(&mut self.waiting);
            if waiting.is_empty() {
                return answered(Sw::WRONG_DATA); // as in the transcripts of Yubico's SDK
            }
            return Incoming::Answered(self.cut(waiting, le));
        }
        self.waiting = Zeroizing::default();

        let header = [ins, p1, p2];
        let mut whole = match self.chain.take() {
            Some(chain) if chain.header == header => chain.data,
            _ => Zeroizing::default(),
        };
        if whole.len() + data.len() > CHAIN_LIMIT {
            return answered(Sw::WRONG_LENGTH);
        }
        whole.extend_from_slice(data);
        if cla & 0x10 != 0 {
            self.chain = Some(Chain { header, data: whole });
            return answered(Sw::SUCCESS);
        }
        Incoming::Command(Command { ins, p1, p2, data: whole, le })
    }

    /// The response to a command, cut to what the client takes; the rest waits for GET RESPONSE.
    pub(crate) fn respond(&mut self, command: &Command, result: Result<Vec<u8>, Sw>) -> Vec<u8> {
        match result {
            Ok(data) => self.cut(Zeroizing::new(data), command.le),
            Err(status) => status.bytes().to_vec(),
        }
    }

    /// Forgets what is under way.
    pub(crate) fn clear(&mut self) {
        *self = Channel::default();
    }

    fn cut(&mut self, mut data: Zeroizing<Vec<u8>>, le: usize) -> Vec<u8> {
        let status = if data.len() > le {
            self.waiting = Zeroizing::new(data.split_off(le));
            Sw::more(self.waiting.len())
        } else {
            Sw::SUCCESS
        };
        let mut response = std::mem::take(&mut *data);
        response.extend_from_slice(&status.bytes());
        response
    }
}

fn answered(status: Sw) -> Incoming {
    Incoming::Answered(status.bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn command(channel: &mut Channel, apdu: &[u8]) -> Command {
        match channel.receive(apdu) {
            Incoming::Command(command) => command,
            Incoming::Answered(answer) => panic!("answered {answer:02x?}"),
        }
    }

    fn answer(channel: &mut Channel, apdu: &[u8]) -> Vec<u8> {
        match channel.receive(apdu) {
            Incoming::Answered(answer) => answer,
            Incoming::Command(command) => panic!("command {:02x}", command.ins),
        }
    }

    #[test]
    fn every_case_of_the_standard_and_the_missing_le() {
        for (apdu, data, le) in [
            (&hex!("00fd0000")[..], &[][..], 256),
            (&hex!("00fd000000"), &[], 256),
            (&hex!("00fd000003"), &[], 3),
            (&hex!("00fd0000000000"), &[], 65536),
            (&hex!("00fd0000000100"), &[], 256),
            (&hex!("00a4040002aabb"), &hex!("aabb"), 256),
            (&hex!("00a4040002aabb05"), &hex!("aabb"), 5),
            (&hex!("00a40400000002aabb"), &hex!("aabb"), 65536),
            (&hex!("00a40400000002aabb0000"), &hex!("aabb"), 65536),
            (&hex!("00a40400000002aabb0010"), &hex!("aabb"), 16),
        ] {
            let got = command(&mut Channel::default(), apdu);
            assert_eq!((&got.data[..], got.le), (data, le), "{apdu:02x?}");
        }
    }

    #[test]
    fn malformed_lengths_are_6700() {
        for apdu in [
            &[][..],
            &hex!("00"),
            &hex!("00a404"),
            &hex!("00a4040003aabb"),
            &hex!("00a4040001aabbcc"),
            &hex!("00a404000000"),
            &hex!("00a40400000000aa"),
            &hex!("00a40400000003aabb"),
        ] {
            assert_eq!(answer(&mut Channel::default(), apdu), hex!("6700"), "{apdu:02x?}");
        }
        assert_eq!(answer(&mut Channel::default(), &hex!("80fd0000")), hex!("6e00"));
    }

    #[test]
    fn a_chain_is_joined_and_another_header_begins_anew() {
        let mut channel = Channel::default();
        assert_eq!(answer(&mut channel, &hex!("10db3fff02aabb")), hex!("9000"));
        assert_eq!(answer(&mut channel, &hex!("10db3fff01cc")), hex!("9000"));
        assert_eq!(command(&mut channel, &hex!("00db3fff01dd")).data[..], hex!("aabbccdd"));
        assert_eq!(answer(&mut channel, &hex!("10db3fff02aabb")), hex!("9000"));
        assert_eq!(command(&mut channel, &hex!("002000800131")).data[..], hex!("31"));
        assert_eq!(command(&mut channel, &hex!("00db3fff01dd")).data[..], hex!("dd"));
    }

    #[test]
    fn a_chain_without_end_is_refused() {
        let mut channel = Channel::default();
        let mut part = hex!("10db3fffff").to_vec();
        part.extend([0; 255]);
        let first = (0..64).map(|_| answer(&mut channel, &part)).find(|sw| sw[..] != hex!("9000"));
        assert_eq!(first, Some(hex!("6700").to_vec()));
    }

    #[test]
    fn a_long_response_comes_in_pieces() {
        let mut channel = Channel::default();
        let get = command(&mut channel, &hex!("00cb3fff00"));
        let first = channel.respond(&get, Ok(vec![1; 600]));
        assert_eq!((first.len(), &first[256..]), (258, &hex!("6100")[..]));
        let second = answer(&mut channel, &hex!("00c00000"));
        assert_eq!((second.len(), &second[256..]), (258, &hex!("6158")[..]));
        let third = answer(&mut channel, &hex!("00c0000010"));
        assert_eq!(&third[16..], hex!("6148"));
        let last = answer(&mut channel, &hex!("00c00000"));
        assert_eq!((last.len(), &last[72..]), (74, &hex!("9000")[..]));
        assert_eq!(answer(&mut channel, &hex!("00c00000")), hex!("6a80"));
    }

    #[test]
    fn an_extended_le_takes_all_at_once() {
        let mut channel = Channel::default();
        let get = command(&mut channel, &hex!("00cb3fff0000025c000000"));
        let all = channel.respond(&get, Ok(vec![1; 3000]));
        assert_eq!((all.len(), &all[3000..]), (3002, &hex!("9000")[..]));
    }
}
