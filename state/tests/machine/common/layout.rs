//! The layout of a type as text: what its decoder asks for, type by type.
//!
//! A decoder of positions takes what another layout of the same widths wrote: two fields that
//! changed places decode and mean something else. The text names every field, so that it differs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
        SeqAccess, VariantAccess, Visitor, value::Error,
    },
};

/// The layout of `T` and of all types in it, one a line, in the order of their names.
pub(crate) fn layout_of<T: for<'de> Deserialize<'de>>() -> String {
    let mut trace = Trace::default();
    loop {
        trace.open = false;
        T::deserialize(&mut trace)
            .expect("a type of this crate decodes from anything of its shape");
        if !trace.open {
            break;
        }
    }
    trace.types.iter().map(|line| format!("{line}\n")).collect()
}

/// Decodes made-up values and notes what is asked for.
#[derive(Default)]
struct Trace {
    /// What was found, a line each.
    types: BTreeSet<String>,
    /// Variants of an enum (by name and variants) whose contents are wholly known.
    known: BTreeMap<(&'static str, &'static [&'static str]), BTreeSet<usize>>,
    /// The type decoded last.
    last: String,
    /// Whether this run met an enum of which a variant is not known yet.
    open: bool,
}

impl Trace {
    /// Notes what was asked for.
    fn is<T>(&mut self, name: impl Into<String>, value: T) -> T {
        self.last = name.into();
        value
    }

    /// The types of a run of values, joined.
    fn run<'de, V: Visitor<'de>>(
        &mut self,
        visitor: V,
        fields: &'static [&'static str],
        len: usize,
    ) -> Result<(V::Value, String), Error> {
        let mut found = Vec::new();
        let value = visitor.visit_seq(Run {
            trace: self,
            left: len,
            found: &mut found,
        })?;
        let named = found
            .iter()
            .enumerate()
            .map(|(at, of)| match fields.get(at) {
                Some(field) => format!("{field}: {of}"),
                None => of.clone(),
            });
        Ok((value, named.collect::<Vec<_>>().join(", ")))
    }
}

/// Values one after the other, as many as are left.
struct Run<'a> {
    trace: &'a mut Trace,
    left: usize,
    found: &'a mut Vec<String>,
}

impl<'de> SeqAccess<'de> for Run<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let value = seed.deserialize(&mut *self.trace)?;
        self.found.push(self.trace.last.clone());
        Ok(Some(value))
    }
}

impl<'de> MapAccess<'de> for Run<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.left = 1;
        let value = self.next_element_seed(seed)?;
        value.ok_or_else(|| Error::custom("one is left"))
    }
}

/// The content of one variant.
struct Content<'a> {
    trace: &'a mut Trace,
    variant: usize,
    content: &'a mut String,
}

impl<'de, 'a> EnumAccess<'de> for Content<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let number = u32::try_from(self.variant).map_err(Error::custom)?;
        Ok((seed.deserialize(number.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let value = seed.deserialize(&mut *self.trace)?;
        *self.content = format!("({})", self.trace.last);
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let (value, fields) = self.trace.run(visitor, &[], len)?;
        *self.content = format!("({fields})");
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (value, fields) = self.trace.run(visitor, fields, fields.len())?;
        *self.content = format!(" {{ {fields} }}");
        Ok(value)
    }
}

/// What a visitor says it expects.
struct Expects<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expects<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $name:literal $value:expr,)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.is($name, $value);
            visitor.$visit(value)
        })+
    };
}

impl<'de> Deserializer<'de> for &mut Trace {
    type Error = Error;

    plain! {
        deserialize_bool visit_bool "bool" false,
        deserialize_i8 visit_i8 "i8" 0,
        deserialize_i16 visit_i16 "i16" 0,
        deserialize_i32 visit_i32 "i32" 0,
        deserialize_i64 visit_i64 "i64" 0,
        deserialize_u8 visit_u8 "u8" 0,
        deserialize_u16 visit_u16 "u16" 0,
        deserialize_u32 visit_u32 "u32" 0,
        deserialize_u64 visit_u64 "u64" 0,
        deserialize_i128 visit_i128 "i128" 0,
        deserialize_u128 visit_u128 "u128" 0,
        deserialize_f32 visit_f32 "f32" 0.0,
        deserialize_f64 visit_f64 "f64" 0.0,
        deserialize_char visit_char "char" 'a',
        deserialize_str visit_str "text" "",
        deserialize_string visit_str "text" "",
    }

    /// A visitor of a fixed run of bytes says how many it wants.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let name = Expects(&visitor).to_string();
        let len = name.split(' ').next().and_then(|word| word.parse().ok());
        self.last = name;
        visitor.visit_bytes(&vec![0; len.unwrap_or(0)])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = visitor.visit_some(&mut *self)?;
        self.last = format!("Option<{}>", self.last);
        Ok(value)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.last = "()".into();
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.last = name.into();
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.types.insert(format!("{name}({})", self.last));
        self.last = name.into();
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (value, of) = self.run(visitor, &[], 1)?;
        self.last = format!("[{of}]");
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let (value, of) = self.run(visitor, &[], len)?;
        self.last = format!("({of})");
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (value, of) = self.run(visitor, &[], len)?;
        self.types.insert(format!("{name}({of})"));
        self.last = name.into();
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut found = Vec::new();
        let value = visitor.visit_map(Run {
            trace: self,
            left: 1,
            found: &mut found,
        })?;
        self.last = format!("{{{}}}", found.join(": "));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (value, of) = self.run(visitor, fields, fields.len())?;
        self.types.insert(format!("{name} {{ {of} }}"));
        self.last = name.into();
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let key = (name, variants);
        let known = self.known.entry(key).or_default();
        let next = (0..variants.len()).find(|variant| !known.contains(variant));
        let (variant, outside) = (next.unwrap_or(0), self.open);
        self.open = false;
        let mut content = String::new();
        let value = visitor.visit_enum(Content {
            trace: self,
            variant,
            content: &mut content,
        })?;
        let known = self.known.entry(key).or_default();
        if !self.open {
            known.insert(variant);
        }
        self.open |= outside || known.len() < variants.len();
        self.types
            .insert(format!("{name}.{variant} {}{content}", variants[variant]));
        self.last = name.into();
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no layout says of itself what it is"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing is ignored"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("fields come by position"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
