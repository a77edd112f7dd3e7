//! Changed inputs, each from a number.

/// Values at which lengths and counts go wrong.
const BORDERS: [u64; 12] =
    [0, 1, 23, 24, 0x7f, 0x80, 0xff, 0xffff, i32::MAX as u64, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// What is longer is chosen less often, because to read it takes long.
const SHORT_BYTES: usize = 8 << 10;

/// One of the samples, changed once or a few times. The same seed gives the same bytes.
pub(super) fn mutation(samples: &[Vec<u8>], longest: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut bytes = dice.sample(samples).clone();
    loop {
        change(&mut bytes, samples, longest, &mut dice);
        bytes.truncate(longest);
        if dice.below(2) == 0 {
            return bytes;
        }
    }
}

fn change(bytes: &mut Vec<u8>, samples: &[Vec<u8>], longest: usize, dice: &mut Dice) {
    let (from, to) = dice.range(bytes.len());
    match dice.below(40) {
        0..8 => overwrite(bytes, &[1 << dice.below(8)], from, |old, bit| old ^ bit),
        8..12 => overwrite(bytes, &[dice.byte()], from, |_, new| new),
        12..20 => overwrite(bytes, &dice.number(), from, |_, new| new),
        20..24 => insert(bytes, from, &head(bytes.get(from).copied(), dice)),
        24..27 => drop(bytes.drain(from..to.min(from + 16))),
        27..29 => bytes.truncate(from),
        29..31 => bytes.extend(dice.rubbish()),
        31..33 => insert(bytes, from, &dice.rubbish()),
        33..36 => {
            let piece = bytes[from..to].to_vec();
            let at = dice.below(bytes.len() + 1);
            insert(bytes, at, &piece);
        }
        36..39 => {
            let other = dice.sample(samples);
            let (start, end) = dice.range(other.len());
            bytes.splice(from..to, other[start..end].iter().copied());
        }
        // Long inputs cost the most time to read, so they are few.
        _ => {
            let piece = bytes[from..to.min(from + 1 + dice.below(12))].to_vec();
            let most = longest.saturating_sub(bytes.len()) / piece.len().max(1);
            let times = dice.below(most + 1) >> dice.below(12);
            insert(bytes, from, &piece.repeat(times));
        }
    }
}

/// A number where a format may have a length: of CBOR, big endian behind the type that stood there; of protobuf and
/// multiformats, seven bits a byte.
fn head(kind: Option<u8>, dice: &mut Dice) -> Vec<u8> {
    let number = *dice.one_of(&BORDERS) >> dice.below(3);
    let bytes = number.to_be_bytes();
    let kind = kind.unwrap_or_default() & 0xe0;
    match dice.below(4) {
        0 => [&[kind | 27][..], &bytes].concat(),
        1 => [&[kind | 26][..], &bytes[4..]].concat(),
        2 => [&[kind | 25][..], &bytes[6..]].concat(),
        _ => varint(number),
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = vec![];
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn overwrite(bytes: &mut [u8], with: &[u8], at: usize, change: impl Fn(u8, u8) -> u8) {
    for (old, new) in bytes[at..].iter_mut().zip(with) {
        *old = change(*old, *new);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// SplitMix64, written out so that a seed means the same bytes for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit that is not 0.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Most often one that is read fast.
    fn sample<'a>(&mut self, samples: &'a [Vec<u8>]) -> &'a Vec<u8> {
        let any = self.one_of(samples);
        if any.len() <= SHORT_BYTES || self.below(100) == 0 {
            return any;
        }
        let short = samples.iter().filter(|sample| sample.len() <= SHORT_BYTES);
        short.min_by_key(|_| self.next()).unwrap_or(any)
    }

    /// The two ends of a piece of something so long.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        (from, from + self.below(length - from + 1))
    }

    /// A border, or one beside it, in one to eight bytes of either order.
    fn number(&mut self) -> Vec<u8> {
        let number = self.one_of(&BORDERS).wrapping_add(self.below(3) as u64).wrapping_sub(1);
        let width = 1 << self.below(4);
        match self.below(2) {
            0 => number.to_be_bytes()[8 - width..].to_vec(),
            _ => number.to_le_bytes()[..width].to_vec(),
        }
    }

    fn rubbish(&mut self) -> Vec<u8> {
        (0..1 + self.below(24)).map(|_| self.byte()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_for_ever() {
        let samples = [b"a sample".to_vec(), b"another one".to_vec()];
        let made: Vec<_> = (0..5_000).map(|seed| mutation(&samples, 64, seed)).collect();
        assert!(made.iter().all(|bytes| bytes.len() <= 64));
        assert!(made.iter().any(|bytes| bytes.len() > 50) && made.iter().any(Vec::is_empty));
        let sum = crate::cid_of(crate::RAW, &made.concat()).to_string();
        assert_eq!(sum, "bafkreiajlg2d52fqgey54wdxvvqggibsmzjhw2kl27md5gcyjyx7ixbckm");
    }

    #[test]
    fn nothing_can_be_changed_too() {
        (0..1_000).for_each(|seed| drop(mutation(&[vec![]], 8, seed)));
    }
}
