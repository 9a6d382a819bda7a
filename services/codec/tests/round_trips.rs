//! Whatever is written is read back, and no bytes whatever cause a panic.

use half::f16;
use infernet_codec::{
    container::{pack_pair, vector_of_output},
    inference::InferenceRequest,
    model_id::{ModelId, RepoId, Storage},
    vector::{Encoding, RitualVector, Values},
};
use proptest::{array::uniform2, collection::vec, prelude::*, sample::select};

/// Values of any type; floats of any bits, but for NaN, which equals nothing.
fn values() -> impl Strategy<Value = Values> {
    let f16s = any::<u16>()
        .prop_map(f16::from_bits)
        .prop_filter("NaN", |f| !f.is_nan());
    let f32s = any::<u32>()
        .prop_map(f32::from_bits)
        .prop_filter("NaN", |f| !f.is_nan());
    let f64s = any::<u64>()
        .prop_map(f64::from_bits)
        .prop_filter("NaN", |f| !f.is_nan());
    prop_oneof![
        vec(f16s, 0..9).prop_map(Values::Float16),
        vec(f32s.clone(), 0..9).prop_map(Values::Float32),
        vec(f64s.clone(), 0..9).prop_map(Values::Float64),
        vec(f64s.clone(), 0..9).prop_map(Values::Float128),
        vec(f64s.clone(), 0..9).prop_map(Values::Float256),
        vec(any::<i8>(), 0..9).prop_map(Values::Int8),
        vec(any::<i16>(), 0..9).prop_map(Values::Int16),
        vec(any::<i32>(), 0..9).prop_map(Values::Int32),
        vec(any::<i64>(), 0..9).prop_map(Values::Int64),
        vec(any::<u8>(), 0..9).prop_map(Values::Uint8),
        vec(any::<u16>(), 0..9).prop_map(Values::Uint16),
        vec(any::<u32>(), 0..9).prop_map(Values::Uint32),
        vec(any::<u64>(), 0..9).prop_map(Values::Uint64),
        vec(uniform2(f32s), 0..9).prop_map(Values::Complex64),
        vec(uniform2(f64s), 0..9).prop_map(Values::Complex128),
        vec(any::<bool>(), 0..9).prop_map(Values::Bool),
    ]
}

fn vectors() -> impl Strategy<Value = RitualVector> {
    (values(), any::<bool>()).prop_map(|(values, row)| {
        let shape = if row {
            vec![1, values.len()]
        } else {
            vec![values.len()]
        };
        RitualVector::new(shape, values).expect("shape fits")
    })
}

fn model_ids() -> impl Strategy<Value = ModelId> {
    let part = "[a-zA-Z0-9._ é-]{0,6}[a-z]";
    let file = "([a-z.]{0,3}[a-z]/)?[a-zA-Z0-9._ é-]{0,6}[a-z]";
    (
        select(Storage::ALL.to_vec()),
        part,
        part,
        proptest::option::of(part),
        vec(file, 1..3),
    )
        .prop_map(|(storage, owner, name, version, files)| {
            let repo = RepoId::new(storage, &owner, &name, version.as_deref()).expect("a repo");
            ModelId::new(repo, files).expect("a model")
        })
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Ieee),
        (1_u8..).prop_map(|decimals| Encoding::FixedPoint { decimals }),
    ]
}

proptest! {
    #[test]
    fn vectors_survive_their_bytes(vector in vectors()) {
        let bytes = vector.to_abi(Encoding::Ieee).expect("encodes");
        prop_assert_eq!(RitualVector::from_abi(&bytes), Ok(vector.clone()));
        let delivered = pack_pair(&bytes, &[]);
        prop_assert_eq!(vector_of_output(&delivered), Ok(vector));
    }

    #[test]
    fn vectors_survive_json_text_unless_it_has_no_form(vector in vectors()) {
        let finite = vector.values().to_f64().is_none_or(|all| all.iter().all(|f| f.is_finite()));
        match vector.to_json() {
            Ok(json) => {
                let text = json.to_string();
                let json = serde_json::from_str(&text).expect("JSON");
                prop_assert_eq!(RitualVector::from_json(&json), Ok(vector));
            }
            Err(_) => prop_assert!(!finite || vector.values().to_f64().is_none()),
        }
    }

    #[test]
    fn fixed_point_is_off_by_less_than_one_step(
        floats in vec(-1e6..1e6_f64, 0..9), decimals in 1_u8..9
    ) {
        let vector = RitualVector::new(vec![floats.len()], Values::Float64(floats.clone()))
            .expect("shape fits");
        let bytes = vector.to_abi(Encoding::FixedPoint { decimals }).expect("encodes");
        let back = RitualVector::from_abi(&bytes).expect("decodes").values().to_f64();
        let step = 10_f64.powi(-i32::from(decimals));
        for (given, got) in floats.iter().zip(back.expect("floats")) {
            // Towards zero, and never past the value by more than a rounding of the f64.
            prop_assert!((given - got).abs() < step + 1e-9);
            prop_assert!(got.abs() <= given.abs() + 1e-9);
        }
    }

    #[test]
    fn model_ids_survive_text_and_bytes_and_stay_inside_the_cache(id in model_ids()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id.clone()));
        prop_assert_eq!(ModelId::from_abi(&id.to_abi()), Ok(Some(id.clone())));
        let path = std::path::PathBuf::from(id.repo().path());
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        prop_assert!(path.components().all(plain));
        prop_assert_eq!(path.components().count(), 4);
    }

    #[test]
    fn requests_survive_their_bytes(
        model in proptest::option::of(model_ids()),
        input in vectors(),
        output in proptest::option::of(encodings()),
    ) {
        let request = InferenceRequest { model, input, output };
        let bytes = request.to_abi(Encoding::Ieee).expect("encodes");
        prop_assert_eq!(InferenceRequest::from_abi(&bytes), Ok(request));
    }

    #[test]
    fn broken_requests_are_refused_or_read_but_never_panic(
        input in vectors(),
        model in proptest::option::of(model_ids()),
        output in proptest::option::of(encodings()),
        cut in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let request = InferenceRequest { model, input, output };
        let mut bytes = request.to_abi(Encoding::Ieee).expect("encodes");
        for (index, flip) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= flip;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = InferenceRequest::from_abi(&bytes);
        let _ = RitualVector::from_abi(&bytes);
        let _ = ModelId::from_abi(&bytes);
        let _ = vector_of_output(&bytes);
    }
}
