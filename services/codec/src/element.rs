//! One element of a vector: as a 32-byte ABI word and as a JSON value.

use half::f16;
use serde_json::{Number, Value};

/// A 32-byte big-endian ABI word.
pub(crate) type Word = [u8; 32];

/// What every element type of a vector can do.
pub(crate) trait Element: Copy + Sized {
    /// What the type is called in an error.
    const NAME: &'static str;

    /// The word of `arithmetic = ieee`: integers as they are, floats as a *signed* integer of
    /// their bits, sign-extended.
    fn to_word(self) -> Word;

    /// The inverse of [`Element::to_word`]; `None` when the word is not of this type.
    fn from_word(word: &Word) -> Option<Self>;

    /// The JSON form; `None` when JSON has none (not finite).
    fn to_json(self) -> Option<Value>;

    /// The inverse of [`Element::to_json`]; `None` when the value is of another kind or does not
    /// fit. A float is rounded to the nearest of the type.
    fn from_json(value: &Value) -> Option<Self>;

    /// The value as `f64`, for fixed-point arithmetic; `None` for complex numbers.
    fn to_f64(self) -> Option<f64>;
}

/// The low `N` bytes of a word whose other bytes are the extension of the sign.
fn signed_tail<const N: usize>(word: &Word) -> Option<[u8; N]> {
    let (head, tail) = word.split_at(32 - N);
    let extension = if tail.first()? & 0x80 == 0 {
        0x00
    } else {
        0xff
    };
    head.iter()
        .all(|byte| *byte == extension)
        .then(|| tail.try_into().ok())?
}

/// The low `N` bytes of a word whose other bytes are zero.
fn unsigned_tail<const N: usize>(word: &Word) -> Option<[u8; N]> {
    let (head, tail) = word.split_at(32 - N);
    head.iter()
        .all(|byte| *byte == 0)
        .then(|| tail.try_into().ok())?
}

fn extended<const N: usize>(tail: [u8; N], extension: u8) -> Word {
    let mut word = [extension; 32];
    word[32 - N..].copy_from_slice(&tail);
    word
}

fn sign_extended<const N: usize>(tail: [u8; N]) -> Word {
    let negative = tail.first().is_some_and(|byte| byte & 0x80 != 0);
    extended(tail, if negative { 0xff } else { 0x00 })
}

/// The whole number of a JSON value; `2.0` counts as one, since some clients know only floats.
fn whole(value: &Value) -> Option<i128> {
    /// Every whole number up to here has a float of its own (2^53).
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let number = value.as_number()?;
    if let Some(signed) = number.as_i64() {
        return Some(signed.into());
    }
    if let Some(unsigned) = number.as_u64() {
        return Some(unsigned.into());
    }
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i128)
}

fn finite(value: &Value) -> Option<f64> {
    value
        .as_number()?
        .as_f64()
        .filter(|float| float.is_finite())
}

fn number(float: f64) -> Option<Value> {
    Number::from_f64(float).map(Value::Number)
}

macro_rules! integer {
    ($kind:ty, $name:literal, $tail:ident, $to_word:expr) => {
        impl Element for $kind {
            const NAME: &'static str = $name;

            fn to_word(self) -> Word {
                $to_word(self.to_be_bytes())
            }

            fn from_word(word: &Word) -> Option<Self> {
                $tail(word).map(Self::from_be_bytes)
            }

            fn to_json(self) -> Option<Value> {
                Some(Value::from(self))
            }

            fn from_json(value: &Value) -> Option<Self> {
                whole(value)?.try_into().ok()
            }

            fn to_f64(self) -> Option<f64> {
                Some(self as f64)
            }
        }
    };
}

integer!(i8, "int8", signed_tail, sign_extended);
integer!(i16, "int16", signed_tail, sign_extended);
integer!(i32, "int32", signed_tail, sign_extended);
integer!(i64, "int64", signed_tail, sign_extended);
integer!(u8, "uint8", unsigned_tail, |tail| extended(tail, 0));
integer!(u16, "uint16", unsigned_tail, |tail| extended(tail, 0));
integer!(u32, "uint32", unsigned_tail, |tail| extended(tail, 0));
integer!(u64, "uint64", unsigned_tail, |tail| extended(tail, 0));

macro_rules! float {
    ($kind:ty, $name:literal, $to_f64:expr, $from_f64:expr) => {
        impl Element for $kind {
            const NAME: &'static str = $name;

            fn to_word(self) -> Word {
                sign_extended(self.to_be_bytes())
            }

            fn from_word(word: &Word) -> Option<Self> {
                signed_tail(word).map(Self::from_be_bytes)
            }

            fn to_json(self) -> Option<Value> {
                number($to_f64(self))
            }

            fn from_json(value: &Value) -> Option<Self> {
                finite(value)
                    .map($from_f64)
                    .filter(|float: &Self| float.is_finite())
            }

            fn to_f64(self) -> Option<f64> {
                Some($to_f64(self))
            }
        }
    };
}

float!(f16, "float16", f64::from, f16::from_f64);
float!(f32, "float32", f64::from, |float| float as f32);
// Also the elements of float128 and float256, which carry the bits of an f64.
float!(f64, "float64", |float| float, |float| float);

impl Element for bool {
    const NAME: &'static str = "bool";

    fn to_word(self) -> Word {
        extended([u8::from(self)], 0)
    }

    fn from_word(word: &Word) -> Option<Self> {
        match unsigned_tail(word)? {
            [0] => Some(false),
            [1] => Some(true),
            [_] => None,
        }
    }

    fn to_json(self) -> Option<Value> {
        Some(Value::Bool(self))
    }

    fn from_json(value: &Value) -> Option<Self> {
        match (value.as_bool(), whole(value)) {
            (Some(truth), _) => Some(truth),
            (None, Some(0)) => Some(false),
            (None, Some(1)) => Some(true),
            (None, _) => None,
        }
    }

    fn to_f64(self) -> Option<f64> {
        Some(u8::from(self).into())
    }
}

macro_rules! complex {
    ($part:ty, $half:literal, $name:literal) => {
        // Real and imaginary part: `part(re) << bits | part(im)`, unsigned.
        impl Element for [$part; 2] {
            const NAME: &'static str = $name;

            fn to_word(self) -> Word {
                let mut word = [0; 32];
                word[32 - 2 * $half..32 - $half].copy_from_slice(&self[0].to_be_bytes());
                word[32 - $half..].copy_from_slice(&self[1].to_be_bytes());
                word
            }

            fn from_word(word: &Word) -> Option<Self> {
                let parts: [u8; 2 * $half] = unsigned_tail(word)?;
                let (re, im) = parts.split_at($half);
                Some([
                    <$part>::from_be_bytes(re.try_into().ok()?),
                    <$part>::from_be_bytes(im.try_into().ok()?),
                ])
            }

            fn to_json(self) -> Option<Value> {
                Some(Value::Array(vec![self[0].to_json()?, self[1].to_json()?]))
            }

            fn from_json(value: &Value) -> Option<Self> {
                match value.as_array()?.as_slice() {
                    [re, im] => Some([<$part>::from_json(re)?, <$part>::from_json(im)?]),
                    _ => None,
                }
            }

            fn to_f64(self) -> Option<f64> {
                None
            }
        }
    };
}

complex!(f32, 4, "complex64");
complex!(f64, 8, "complex128");
