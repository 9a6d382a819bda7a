//! `RitualVector`: a tensor as JSON and as ABI bytes (`docs/spec/services.md` section 0).
//!
//! JSON: `{"dtype": int, "shape": [int...], "values": [flat, row-major]}`.
//!
//! Bytes: `abi.encode(uint8 arithmetic, uint8 scale, uint8 dtype, uint16[] shape, T[] values)`.
//! With *ieee* arithmetic an element is its bits; with *fixed point* it is
//! `trunc(value * 10^scale)` as `int128`, and `dtype` is always rewritten to float128.

use alloy_primitives::FixedBytes;
use alloy_sol_types::{
    SolType,
    sol_data::{Array, FixedBytes as SolFixedBytes, Uint},
};
use half::f16;
use serde_json::{Map, Value};

use crate::{
    abi::decode_params,
    element::{Element, Word},
};

/// The scale that is used when none, or 0, is asked for; also written with ieee arithmetic, where
/// it means nothing.
pub const DEFAULT_DECIMALS: u8 = 18;

/// The `dtype` of JSON that names none.
const DEFAULT_DTYPE: DataType = DataType::Float32;

/// The ABI layout; elements are read as bare words, since every `T` fills exactly one.
type AbiVector = (
    Uint<8>,
    Uint<8>,
    Uint<8>,
    Array<Uint<16>>,
    Array<SolFixedBytes<32>>,
);

/// What a vector can be refused for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// The number names no data type.
    #[error("E-VEC-001: unknown dtype {0}: use a number from 0 (float16) to 15 (bool)")]
    UnknownDataType(String),
    /// The number or name is no arithmetic.
    #[error("E-VEC-002: unknown arithmetic {0}: use 0 (ieee) or 1 (fixed_point)")]
    UnknownArithmetic(String),
    /// Shape and number of values disagree, or the shape's product overflows.
    #[error("E-VEC-003: shape {shape:?} does not hold {values} values")]
    ShapeMismatch {
        /// The shape as given.
        shape: Vec<usize>,
        /// How many values there are.
        values: usize,
    },
    /// An element is not of the vector's type, or out of its range.
    #[error("E-VEC-004: value {index} is not a {kind}")]
    BadValue {
        /// Position in row-major order.
        index: usize,
        /// The element's type.
        kind: &'static str,
    },
    /// An element has no form in the requested encoding.
    #[error("E-VEC-005: value {index} has no {form} form: {reason}")]
    NoSuchForm {
        /// Position in row-major order.
        index: usize,
        /// `JSON` or `fixed-point`.
        form: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A dimension is beyond what the bytes can carry.
    #[error("E-VEC-006: dimension {0} exceeds 65535, the most that an encoded shape can hold")]
    DimensionTooLarge(usize),
    /// JSON of the wrong form.
    #[error("E-VEC-007: {0}")]
    BadJson(&'static str),
    /// Bytes that are not ABI data of a vector.
    #[error("E-VEC-008: not an encoded vector: {0}")]
    BadAbi(String),
}

/// How the numbers of encoded bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// The bits of the elements.
    #[default]
    Ieee,
    /// Decimal fixed point with this many decimals, 1 to 255.
    FixedPoint {
        /// Decimals; 0 is read as [`DEFAULT_DECIMALS`].
        decimals: u8,
    },
}

impl Encoding {
    /// From the optional numbers of an on-chain request. No arithmetic means ieee.
    ///
    /// # Errors
    /// [`VectorError::UnknownArithmetic`].
    pub fn from_numbers(arithmetic: Option<u8>, decimals: Option<u8>) -> Result<Self, VectorError> {
        match arithmetic {
            None | Some(0) => Ok(Self::Ieee),
            Some(1) => Ok(Self::FixedPoint {
                decimals: decimals.unwrap_or(0),
            }),
            Some(other) => Err(VectorError::UnknownArithmetic(other.to_string())),
        }
    }

    /// From the names of an off-chain request (`ieee`, `fixed_point`). No name means ieee.
    ///
    /// # Errors
    /// [`VectorError::UnknownArithmetic`].
    pub fn from_name(arithmetic: Option<&str>, decimals: Option<u8>) -> Result<Self, VectorError> {
        match arithmetic {
            None | Some("ieee") => Ok(Self::Ieee),
            Some("fixed_point") => Ok(Self::FixedPoint {
                decimals: decimals.unwrap_or(0),
            }),
            Some(other) => Err(VectorError::UnknownArithmetic(format!("{other:?}"))),
        }
    }

    /// Arithmetic and scale as they stand in the bytes.
    #[must_use]
    pub fn to_numbers(self) -> (u8, u8) {
        match self {
            Self::Ieee => (0, DEFAULT_DECIMALS),
            Self::FixedPoint { decimals: 0 } => (1, DEFAULT_DECIMALS),
            Self::FixedPoint { decimals } => (1, decimals),
        }
    }
}

macro_rules! vector_types {
    ($($number:literal $variant:ident($element:ty) $name:literal),+ $(,)?) => {
        /// The type of a vector's elements, by its number on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DataType {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant = $number,
            )+
        }

        impl DataType {
            /// Every type, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The type's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        /// The elements, flat and in row-major order.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Values {
            $(
                #[doc = concat!("Elements of type `", $name, "`.")]
                $variant(Vec<$element>),
            )+
        }

        impl Values {
            /// The elements' type.
            #[must_use]
            pub fn dtype(&self) -> DataType {
                match self {
                    $(Self::$variant(_) => DataType::$variant,)+
                }
            }

            fn from_each<I>(
                dtype: DataType,
                items: &[I],
                mut read: impl ReadElement<I>,
            ) -> Result<Self, VectorError> {
                match dtype {
                    $(DataType::$variant => read.all::<$element>(items).map(Self::$variant),)+
                }
            }
        }

        macro_rules! for_elements {
            ($values:expr, $elements:ident => $body:expr) => {
                match $values {
                    $(Values::$variant($elements) => $body,)+
                }
            };
        }
    };
}

vector_types! {
    0 Float16(f16) "float16",
    1 Float32(f32) "float32",
    2 Float64(f64) "float64",
    3 Float128(f64) "float128",
    4 Float256(f64) "float256",
    5 Int8(i8) "int8",
    6 Int16(i16) "int16",
    7 Int32(i32) "int32",
    8 Int64(i64) "int64",
    9 Uint8(u8) "uint8",
    10 Uint16(u16) "uint16",
    11 Uint32(u32) "uint32",
    12 Uint64(u64) "uint64",
    13 Complex64([f32; 2]) "complex64",
    14 Complex128([f64; 2]) "complex128",
    15 Bool(bool) "bool",
}

/// Reads elements of whatever type from words or JSON values.
trait ReadElement<I> {
    fn one<E: Element>(&mut self, item: &I) -> Option<E>;

    fn all<E: Element>(&mut self, items: &[I]) -> Result<Vec<E>, VectorError> {
        let element = |(index, item)| {
            self.one(item).ok_or(VectorError::BadValue {
                index,
                kind: E::NAME,
            })
        };
        items.iter().enumerate().map(element).collect()
    }
}

struct FromJson;

impl ReadElement<Value> for FromJson {
    fn one<E: Element>(&mut self, item: &Value) -> Option<E> {
        E::from_json(item)
    }
}

struct FromWord;

impl ReadElement<FixedBytes<32>> for FromWord {
    fn one<E: Element>(&mut self, item: &FixedBytes<32>) -> Option<E> {
        E::from_word(&item.0)
    }
}

impl DataType {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// From the number on the wire.
    ///
    /// # Errors
    /// [`VectorError::UnknownDataType`].
    pub fn from_number(number: u64) -> Result<Self, VectorError> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
            .ok_or_else(|| VectorError::UnknownDataType(number.to_string()))
    }
}

impl Values {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        for_elements!(self, elements => elements.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every element as `f64` (rounded to nearest beyond 2^53); `None` for complex types.
    #[must_use]
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        for_elements!(self, elements => elements.iter().map(|e| Element::to_f64(*e)).collect())
    }

    fn words(&self) -> Vec<FixedBytes<32>> {
        for_elements!(self, elements => elements.iter().map(|e| FixedBytes(e.to_word())).collect())
    }

    fn json(&self) -> Result<Vec<Value>, VectorError> {
        let refused = |index| VectorError::NoSuchForm {
            index,
            form: "JSON",
            reason: "it is not a finite number",
        };
        for_elements!(self, elements => elements
            .iter()
            .enumerate()
            .map(|(index, e)| e.to_json().ok_or_else(|| refused(index)))
            .collect())
    }
}

/// A tensor. Its shape always holds exactly its values; an empty shape is a scalar.
#[derive(Debug, Clone, PartialEq)]
pub struct RitualVector {
    shape: Vec<usize>,
    values: Values,
}

impl RitualVector {
    /// A tensor of `shape`, outermost dimension first.
    ///
    /// # Errors
    /// [`VectorError::ShapeMismatch`].
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self, VectorError> {
        let size = shape
            .iter()
            .try_fold(1_usize, |size, dim| size.checked_mul(*dim));
        if size == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            Err(VectorError::ShapeMismatch {
                shape,
                values: values.len(),
            })
        }
    }

    /// The dimensions, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The JSON form. Complex elements are `[re, im]` pairs, which other implementations do not
    /// read back.
    ///
    /// # Errors
    /// [`VectorError::NoSuchForm`] for NaN and infinities, which JSON cannot carry.
    pub fn to_json(&self) -> Result<Value, VectorError> {
        let mut object = Map::new();
        object.insert("dtype".into(), self.values.dtype().number().into());
        object.insert("shape".into(), self.shape.clone().into());
        object.insert("values".into(), self.values.json()?.into());
        Ok(Value::Object(object))
    }

    /// Reads the JSON form. `dtype` defaults to float32, `shape` to that of a scalar; other keys
    /// are ignored.
    ///
    /// # Errors
    /// [`VectorError::BadJson`], [`VectorError::UnknownDataType`], [`VectorError::BadValue`],
    /// [`VectorError::ShapeMismatch`].
    pub fn from_json(json: &Value) -> Result<Self, VectorError> {
        let object = json.as_object().ok_or(VectorError::BadJson(
            "a vector is an object with dtype, shape and values",
        ))?;
        let dtype = match object.get("dtype") {
            None => DEFAULT_DTYPE,
            Some(number) => number
                .as_u64()
                .ok_or_else(|| VectorError::UnknownDataType(number.to_string()))
                .and_then(DataType::from_number)?,
        };
        let shape = match object.get("shape") {
            None => Vec::new(),
            Some(shape) => shape
                .as_array()
                .and_then(|dims| dims.iter().map(dimension).collect())
                .ok_or(VectorError::BadJson(
                    "shape is not a list of whole numbers from 0 up",
                ))?,
        };
        let values = object
            .get("values")
            .and_then(Value::as_array)
            .ok_or(VectorError::BadJson("values is missing or not a flat list"))?;
        Self::new(shape, Values::from_each(dtype, values, FromJson)?)
    }

    /// The ABI bytes.
    ///
    /// # Errors
    /// [`VectorError::DimensionTooLarge`]; with fixed point also [`VectorError::NoSuchForm`] for
    /// what is complex, not finite, or beyond ±2^127 once scaled.
    pub fn to_abi(&self, encoding: Encoding) -> Result<Vec<u8>, VectorError> {
        let shape = self
            .shape
            .iter()
            .map(|dim| u16::try_from(*dim).map_err(|_| VectorError::DimensionTooLarge(*dim)))
            .collect::<Result<Vec<u16>, _>>()?;
        let (arithmetic, scale) = encoding.to_numbers();
        let (dtype, words) = match encoding {
            Encoding::Ieee => (self.values.dtype(), self.values.words()),
            Encoding::FixedPoint { .. } => (DataType::Float128, self.fixed_point_words(scale)?),
        };
        Ok(AbiVector::abi_encode_params(&(
            arithmetic,
            scale,
            dtype.number(),
            shape,
            words,
        )))
    }

    /// Reads ABI bytes. Fixed point becomes float128 (an f64), whatever dtype is written.
    ///
    /// A scale of 0 is taken at its word here, so that contracts may send whole numbers.
    ///
    /// # Errors
    /// [`VectorError::BadAbi`], [`VectorError::UnknownArithmetic`],
    /// [`VectorError::UnknownDataType`], [`VectorError::BadValue`],
    /// [`VectorError::ShapeMismatch`].
    pub fn from_abi(bytes: &[u8]) -> Result<Self, VectorError> {
        let (arithmetic, scale, dtype, shape, words) =
            decode_params::<AbiVector>(bytes).map_err(VectorError::BadAbi)?;
        let dtype = DataType::from_number(dtype.into())?;
        let values = match Encoding::from_numbers(Some(arithmetic), Some(scale))? {
            Encoding::Ieee => Values::from_each(dtype, &words, FromWord)?,
            Encoding::FixedPoint { decimals } => from_fixed_point(&words, decimals)?,
        };
        Self::new(shape.into_iter().map(usize::from).collect(), values)
    }

    fn fixed_point_words(&self, scale: u8) -> Result<Vec<FixedBytes<32>>, VectorError> {
        let refused = |index, reason| VectorError::NoSuchForm {
            index,
            form: "fixed-point",
            reason,
        };
        let floats = self
            .values
            .to_f64()
            .ok_or(refused(0, "it is a complex number"))?;
        let factor = power_of_ten(scale);
        let word = |(index, float): (usize, &f64)| {
            let scaled = (float * factor).trunc();
            // The cast below saturates; exactly -2^127 still fits.
            if (-TWO_POW_127..TWO_POW_127).contains(&scaled) {
                Ok(int128_word(scaled as i128))
            } else {
                Err(refused(
                    index,
                    "it is not finite, or beyond 2^127 once scaled",
                ))
            }
        };
        floats.iter().enumerate().map(word).collect()
    }
}

/// 2^127 as a float, exactly.
const TWO_POW_127: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

fn dimension(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|dim| dim.try_into().ok())
}

/// 10^exponent, rounded to nearest once; repeated multiplication would err in the last bits.
fn power_of_ten(exponent: u8) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}

fn int128_word(value: i128) -> FixedBytes<32> {
    let mut word: Word = [if value < 0 { 0xff } else { 0 }; 32];
    word[16..].copy_from_slice(&value.to_be_bytes());
    FixedBytes(word)
}

fn from_fixed_point(words: &[FixedBytes<32>], decimals: u8) -> Result<Values, VectorError> {
    let divisor = power_of_ten(decimals);
    let float = |(index, word): (usize, &FixedBytes<32>)| {
        let (head, tail) = word.0.split_at(16);
        let value = tail.try_into().ok().map(i128::from_be_bytes);
        value
            .filter(|value| {
                head.iter()
                    .all(|byte| *byte == if *value < 0 { 0xff } else { 0 })
            })
            .map(|value| value as f64 / divisor)
            .ok_or(VectorError::BadValue {
                index,
                kind: "int128",
            })
    };
    words
        .iter()
        .enumerate()
        .map(float)
        .collect::<Result<_, _>>()
        .map(Values::Float128)
}
