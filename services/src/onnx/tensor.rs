//! Vectors as tract's tensors and back.

use half::f16;
use infernet_codec::vector::{RitualVector, Values};
use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult};

/// Why a vector cannot be an input, or a tensor no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The elements cannot become those of the model's input without loss of meaning.
    #[error(
        "E-TEN-001: value {index} of type {from} cannot be a {to}, which the model takes for input {input:?}"
    )]
    Mismatch {
        /// The input's name.
        input: String,
        /// Position in row-major order.
        index: usize,
        /// The vector's type.
        from: &'static str,
        /// The model's type.
        to: String,
    },
    /// There is no vector of this type.
    #[error("E-TEN-002: a tensor of type {0} has no vector form")]
    NoVector(String),
}

/// A tensor of type `to` from a vector.
///
/// Numbers are converted, since fixed-point vectors always arrive as float128: to floats by
/// rounding, to integers only where nothing is lost. Booleans and complex numbers only stay what
/// they are.
pub(super) fn to_tensor(
    input: &str,
    vector: &RitualVector,
    to: DatumType,
) -> Result<Tensor, TensorError> {
    let cast = Cast { input, vector, to };
    match to {
        // What was not finite stays so; only the conversion must not make it so.
        DatumType::F16 => cast.floats(|float| {
            Some(f16::from_f64(float)).filter(|narrow| narrow.is_finite() == float.is_finite())
        }),
        DatumType::F32 => cast.floats(|float| {
            Some(float as f32).filter(|narrow| narrow.is_finite() == float.is_finite())
        }),
        DatumType::F64 => cast.floats(Some),
        DatumType::I8 => cast.integers(|whole| i8::try_from(whole).ok()),
        DatumType::I16 => cast.integers(|whole| i16::try_from(whole).ok()),
        DatumType::I32 => cast.integers(|whole| i32::try_from(whole).ok()),
        DatumType::I64 => cast.integers(|whole| i64::try_from(whole).ok()),
        DatumType::U8 => cast.integers(|whole| u8::try_from(whole).ok()),
        DatumType::U16 => cast.integers(|whole| u16::try_from(whole).ok()),
        DatumType::U32 => cast.integers(|whole| u32::try_from(whole).ok()),
        DatumType::U64 => cast.integers(|whole| u64::try_from(whole).ok()),
        DatumType::Bool => match vector.values() {
            Values::Bool(values) => cast.tensor(values),
            _ => Err(cast.mismatch(0)),
        },
        _ => Err(cast.mismatch(0)),
    }
}

/// The type that a model input of unknown type takes: the vector's own, as near as tract has it.
pub(super) fn natural_type(vector: &RitualVector) -> DatumType {
    match vector.values() {
        Values::Float16(_) => DatumType::F16,
        Values::Float32(_) => DatumType::F32,
        Values::Float64(_) | Values::Float128(_) | Values::Float256(_) => DatumType::F64,
        Values::Int8(_) => DatumType::I8,
        Values::Int16(_) => DatumType::I16,
        Values::Int32(_) => DatumType::I32,
        Values::Int64(_) => DatumType::I64,
        Values::Uint8(_) => DatumType::U8,
        Values::Uint16(_) => DatumType::U16,
        Values::Uint32(_) => DatumType::U32,
        Values::Uint64(_) => DatumType::U64,
        // tract is built without complex numbers; the conversion then refuses them.
        Values::Complex64(_) | Values::Complex128(_) => DatumType::F64,
        Values::Bool(_) => DatumType::Bool,
    }
}

struct Cast<'a> {
    input: &'a str,
    vector: &'a RitualVector,
    to: DatumType,
}

impl Cast<'_> {
    fn floats<T: Datum + Copy>(
        &self,
        narrow: impl Fn(f64) -> Option<T>,
    ) -> Result<Tensor, TensorError> {
        let floats = match self.vector.values() {
            Values::Bool(_) => None,
            values => values.to_f64(),
        };
        let floats = floats.ok_or_else(|| self.mismatch(0))?;
        self.each(floats.into_iter().map(narrow))
    }

    fn integers<T: Datum + Copy>(
        &self,
        narrow: impl Fn(i128) -> Option<T>,
    ) -> Result<Tensor, TensorError> {
        let wholes = match self.vector.values() {
            Values::Int8(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Int16(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Int32(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Int64(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Uint8(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Uint16(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Uint32(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Uint64(v) => v.iter().map(|i| Some((*i).into())).collect(),
            Values::Bool(_) | Values::Complex64(_) | Values::Complex128(_) => {
                return Err(self.mismatch(0));
            }
            floats @ (Values::Float16(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Float128(_)
            | Values::Float256(_)) => {
                let floats = floats.to_f64().unwrap_or_default();
                floats.into_iter().map(whole).collect::<Vec<Option<i128>>>()
            }
        };
        self.each(wholes.into_iter().map(|whole| whole.and_then(&narrow)))
    }

    fn each<T: Datum + Copy>(
        &self,
        elements: impl Iterator<Item = Option<T>>,
    ) -> Result<Tensor, TensorError> {
        let checked = elements
            .enumerate()
            .map(|(index, element)| element.ok_or_else(|| self.mismatch(index)))
            .collect::<Result<Vec<T>, _>>()?;
        self.tensor(&checked)
    }

    fn tensor<T: Datum + Copy>(&self, elements: &[T]) -> Result<Tensor, TensorError> {
        // Cannot fail: a vector's shape holds exactly its values.
        Tensor::from_shape(self.vector.shape(), elements).map_err(|_| self.mismatch(0))
    }

    fn mismatch(&self, index: usize) -> TensorError {
        TensorError::Mismatch {
            input: self.input.to_owned(),
            index,
            from: self.vector.values().dtype().name(),
            to: format!("{:?}", self.to).to_lowercase(),
        }
    }
}

/// A float as the whole number that it is, if it is one that floats tell apart.
fn whole(float: f64) -> Option<i128> {
    /// 2^53.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i128)
}

/// A vector from a tensor; tract's symbolic dimensions become int64.
pub(super) fn to_vector(tensor: &Tensor) -> Result<RitualVector, TensorError> {
    let no_vector = || TensorError::NoVector(format!("{:?}", tensor.datum_type()));
    let values = values(tensor)
        .map_err(|_| no_vector())?
        .ok_or_else(no_vector)?;
    RitualVector::new(tensor.shape().to_vec(), values).map_err(|_| no_vector())
}

fn values(tensor: &Tensor) -> TractResult<Option<Values>> {
    fn list<T: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<T>> {
        Ok(tensor.to_plain_array_view::<T>()?.iter().copied().collect())
    }
    Ok(Some(match tensor.datum_type() {
        DatumType::F16 => Values::Float16(list(tensor)?),
        DatumType::F32 => Values::Float32(list(tensor)?),
        DatumType::F64 => Values::Float64(list(tensor)?),
        DatumType::I8 => Values::Int8(list(tensor)?),
        DatumType::I16 => Values::Int16(list(tensor)?),
        DatumType::I32 => Values::Int32(list(tensor)?),
        DatumType::I64 => Values::Int64(list(tensor)?),
        DatumType::U8 => Values::Uint8(list(tensor)?),
        DatumType::U16 => Values::Uint16(list(tensor)?),
        DatumType::U32 => Values::Uint32(list(tensor)?),
        DatumType::U64 => Values::Uint64(list(tensor)?),
        DatumType::Bool => Values::Bool(list(tensor)?),
        DatumType::TDim => Values::Int64(list(tensor.cast_to::<i64>()?.as_ref())?),
        _ => return Ok(None),
    }))
}
