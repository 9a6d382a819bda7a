//! How this crate reads ABI data: validated words, padding and offsets as lenient as Solidity's.

use alloy_sol_types::{
    SolType,
    abi::{AbiDecoderConfig, TokenSeq},
};

/// Decodes `data` as function parameters of type `T`, refusing dirty integer, bool and string words.
///
/// Bytes behind the last parameter are ignored, as `abi.decode` does. An array is never larger
/// than `data`, so decoding allocates in proportion to it.
///
/// # Errors
/// The decoder's own words when `data` is too short or a word does not fit its type.
pub(crate) fn decode_params<'de, T>(data: &'de [u8]) -> Result<T::RustType, String>
where
    T: SolType,
    T::Token<'de>: TokenSeq<'de>,
{
    let config = AbiDecoderConfig::new().validate(true);
    T::abi_decode_params_with_config(data, config).map_err(|error| error.to_string())
}
