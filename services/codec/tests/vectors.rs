//! The byte vectors of `docs/spec/vectors.json`, and the figures that `docs/spec/services.md`
//! section 0 states.

use alloy_primitives::hex;
use half::f16;
use infernet_codec::{
    inference::InferenceRequest,
    model_id::ModelId,
    vector::{Encoding, RitualVector, Values, VectorError},
};
use serde_json::Value;

const IRIS_MODEL: &str = "huggingface/Ritual-Net/iris-classification:iris.onnx";

fn recorded(name: &str) -> Vec<u8> {
    let all: Value =
        serde_json::from_str(include_str!("../../../docs/spec/vectors.json")).expect("JSON");
    hex::decode(all[name].as_str().expect("a hex string")).expect("hex")
}

fn vector(shape: &[usize], values: Values) -> RitualVector {
    RitualVector::new(shape.to_vec(), values).expect("shape fits")
}

/// The input tensor of the recorded JSON request.
fn iris() -> RitualVector {
    let all: Value =
        serde_json::from_str(include_str!("../../../docs/spec/vectors.json")).expect("JSON");
    let request: Value =
        serde_json::from_str(all["onnx_req_json"].as_str().expect("text")).expect("JSON");
    RitualVector::from_json(&request["inputs"]["input"]).expect("a vector")
}

#[test]
fn ieee_vectors_are_the_recorded_bytes_both_ways() {
    let recorded_vectors = [
        ("iris_f32_ieee", iris()),
        (
            "f16",
            vector(
                &[3],
                Values::Float16([1.5, -2.0, 0.0].map(f16::from_f64).to_vec()),
            ),
        ),
        ("i8", vector(&[2], Values::Int8(vec![-1, 127]))),
        ("c64", vector(&[1], Values::Complex64(vec![[1.5, -2.0]]))),
    ];
    for (name, expected) in recorded_vectors {
        let bytes = recorded(name);
        assert_eq!(
            RitualVector::from_abi(&bytes).as_ref(),
            Ok(&expected),
            "{name}"
        );
        assert_eq!(expected.to_abi(Encoding::Ieee), Ok(bytes), "{name}");
    }
}

#[test]
fn fixed_point_truncates_as_recorded_and_comes_back_as_float128() {
    let bytes = recorded("iris_f32_fixed6");
    assert_eq!(
        iris().to_abi(Encoding::FixedPoint { decimals: 6 }),
        Ok(bytes.clone())
    );
    let back = RitualVector::from_abi(&bytes).expect("decodes");
    assert_eq!(
        back.values(),
        &Values::Float128(vec![1.038004, 0.55861, 1.103782, 1.712095])
    );
}

#[test]
fn wide_floats_carry_the_bits_of_an_f64_sign_extended() {
    for values in [Values::Float128(vec![-1.5]), Values::Float256(vec![-1.5])] {
        let bytes = vector(&[], values.clone())
            .to_abi(Encoding::Ieee)
            .expect("encodes");
        let last = &bytes[bytes.len() - 32..];
        assert!(last[..24].iter().all(|byte| *byte == 0xff));
        assert_eq!(hex::encode(&last[24..]), "bff8000000000000");
        assert_eq!(RitualVector::from_abi(&bytes), Ok(vector(&[], values)));
    }
}

#[test]
fn scale_zero_is_written_as_18_and_read_at_its_word() {
    let one = vector(&[], Values::Int64(vec![1]));
    let mut bytes = one
        .to_abi(Encoding::FixedPoint { decimals: 0 })
        .expect("encodes");
    assert_eq!(bytes[63], 18);
    assert_eq!(hex::encode(&bytes[bytes.len() - 8..]), "0de0b6b3a7640000");
    bytes[63] = 0;
    let whole = RitualVector::from_abi(&bytes).expect("decodes");
    assert_eq!(whole.values(), &Values::Float128(vec![1e18]));
}

#[test]
fn model_ids_and_requests_are_the_recorded_bytes_both_ways() {
    let model: ModelId = IRIS_MODEL.parse().expect("an id");
    assert_eq!(model.to_abi(), recorded("modelid"));
    assert_eq!(
        ModelId::from_abi(&recorded("modelid")),
        Ok(Some(model.clone()))
    );

    let request = InferenceRequest {
        model: Some(model),
        input: iris(),
        output: None,
    };
    assert_eq!(request.to_abi(Encoding::Ieee), Ok(recorded("onnx_req")));
    assert_eq!(
        InferenceRequest::from_abi(&recorded("onnx_req")),
        Ok(request)
    );
}

#[test]
fn what_does_not_fit_is_refused_by_position() {
    let refused = |json: &str| {
        RitualVector::from_json(&serde_json::from_str(json).expect("JSON")).expect_err(json)
    };
    let bad = |index, kind| VectorError::BadValue { index, kind };
    assert_eq!(
        refused(r#"{"dtype":9,"shape":[2],"values":[255,256]}"#),
        bad(1, "uint8")
    );
    assert_eq!(
        refused(r#"{"dtype":5,"shape":[1],"values":[0.5]}"#),
        bad(0, "int8")
    );
    assert_eq!(
        refused(r#"{"shape":[1],"values":[1e39]}"#),
        bad(0, "float32")
    );
    assert_eq!(
        refused(r#"{"shape":[1],"values":[[1]]}"#),
        bad(0, "float32")
    );
    assert_eq!(
        refused(r#"{"dtype":15,"shape":[1],"values":[2]}"#),
        bad(0, "bool")
    );
    assert!(matches!(
        refused(r#"{"dtype":16,"values":[1]}"#),
        VectorError::UnknownDataType(_)
    ));
    for shape in ["[3]", "[4294967296,4294967296]", "[]"] {
        let json = format!(r#"{{"shape":{shape},"values":[1,2]}}"#);
        assert!(
            matches!(refused(&json), VectorError::ShapeMismatch { .. }),
            "{shape}"
        );
    }
    for json in [
        r#"[1]"#,
        r#"{"values":1}"#,
        r#"{"shape":[-1],"values":[]}"#,
        r#"{"shape":4}"#,
    ] {
        assert!(matches!(refused(json), VectorError::BadJson(_)), "{json}");
    }

    // A word that is no sign-extended int8.
    let mut bytes = recorded("i8");
    let length = bytes.len();
    bytes[length - 32] = 1;
    assert_eq!(RitualVector::from_abi(&bytes), Err(bad(1, "int8")));

    let big = vector(
        &[],
        Values::Float64(vec![f64::from(1_u32 << 31).powi(4) * 8.0]),
    );
    let unscaled = big.to_abi(Encoding::FixedPoint { decimals: 1 });
    assert!(matches!(
        unscaled,
        Err(VectorError::NoSuchForm {
            form: "fixed-point",
            ..
        })
    ));
    let nan = vector(&[], Values::Float32(vec![f32::NAN]));
    assert!(matches!(
        nan.to_json(),
        Err(VectorError::NoSuchForm { form: "JSON", .. })
    ));
    let wide = vector(&[65_536], Values::Bool(vec![true; 65_536]));
    assert_eq!(
        wide.to_abi(Encoding::Ieee),
        Err(VectorError::DimensionTooLarge(65_536))
    );
}

#[test]
fn model_ids_that_could_leave_the_cache_are_refused() {
    for id in [
        "local/../iris:iris.onnx",
        "local/infernet/..:iris.onnx",
        "local/infernet/iris/..:iris.onnx",
        "local/infernet/iris:../iris.onnx",
        "local/infernet/iris:/etc/passwd",
        "local/infernet/iris:a\\..\\b",
        "local/infernet/iris:a\0b",
        "local//iris:iris.onnx",
        "local/infernet/iris/:iris.onnx",
        "local/infernet/iris:",
        "local/infernet/iris:a,,b",
        "local/infernet/iris:a:b",
        "local/infernet:iris.onnx",
        "local/a/b/c/d:iris.onnx",
        "ftp/infernet/iris:iris.onnx",
        "local/infernet/iris",
        "",
    ] {
        assert!(id.parse::<ModelId>().is_err(), "{id:?}");
    }
    let id: ModelId = "arweave/o/n/1.0:onnx/a.onnx,b.bin".parse().expect("an id");
    assert_eq!(id.repo().path(), "arweave/o/n/1.0");
    assert_eq!(id.files(), ["onnx/a.onnx", "b.bin"]);
    assert!(
        format!("local/a/{}:c", "b".repeat(5000))
            .parse::<ModelId>()
            .is_err()
    );
}
