//! How trainings are spelt, and which combinations are refused.

use super::*;
use serde_json::{Value, json};

fn read(value: Value) -> Result<Config, serde_json::Error> {
    serde_json::from_value(value)
}

#[test]
fn a_name_alone_means_its_defaults() {
    let short = read(json!({ "backbone": "lightgcn", "sampler": "cnsdiff", "seed": 1, "select": "last" })).unwrap();
    let gradient = short.gradient().unwrap();
    assert_eq!((gradient.backbone.name(), gradient.backbone.params()), ("lightgcn", &json!({ "layers": 2 })));
    assert_eq!(gradient.sampler.as_ref().unwrap().params()["denoiser"]["hidden"], 64);
    let written = serde_json::to_value(&short).unwrap();
    assert_eq!(written["backbone"], json!({ "lightgcn": { "layers": 2 } }));
    assert_eq!(written["select"], json!({ "last": {} }));
    assert_eq!(read(written).unwrap(), short);
}

#[test]
fn parameters_are_read_and_unknown_ones_refused() {
    let long = json!({ "backbone": { "mf": {} }, "sampler": { "cnsdiff": { "variant": "as_released" } }, "seed": 1 });
    let read_long = read(long).unwrap();
    let sampler = read_long.gradient().unwrap().sampler.clone().unwrap();
    assert_eq!((sampler.name(), &sampler.params()["variant"]), ("cnsdiff", &json!("as_released")));
    for (wrong, told) in [
        (json!({ "backbone": "ngfc", "seed": 1 }), "ngfc"),
        (json!({ "backbone": { "lightgcn": { "layer": 2 } }, "seed": 1 }), "layer"),
        (json!({ "backbone": "mf", "seed": 1, "sampler": { "cnsdiff": { "temp": 2 } } }), "temp"),
        (json!({ "backbone": { "mf": {}, "lightgcn": {} }, "seed": 1 }), ""),
    ] {
        let error = read(wrong.clone()).unwrap_err().to_string();
        assert!(error.contains(told), "{wrong}: {error}");
    }
}

#[test]
fn values_out_of_range_are_named() {
    let config = |change: fn(&mut Value)| {
        let mut value = json!({ "backbone": "mf", "seed": 1 });
        change(&mut value);
        read(value).unwrap().check()
    };
    assert_eq!(config(|_| ()), Ok(()));
    assert_eq!(config(|v| v["epochs"] = json!(0)).unwrap_err().path, ["epochs"]);
    assert_eq!(config(|v| v["optimizer"] = json!({ "lr": -1.0 })).unwrap_err().path, ["optimizer", "lr"]);
    let measure = config(|v| v["select"] = json!({ "valid_iid": { "measure": "ndgc@20" } })).unwrap_err();
    assert_eq!(measure.path, ["select", "valid_iid", "measure"]);
    let candidates = config(|v| v["candidates"] = json!({ "items_of": [] })).unwrap_err();
    assert_eq!(candidates.path, ["candidates", "items_of"]);
    let sampled = config(|v| v["candidates"] = json!({ "sampled": { "of": ["valid"] } })).unwrap_err();
    assert_eq!(sampled.path, ["candidates", "sampled", "of"]);
    let start = config(|v| v["sampler"] = json!({ "cnsdiff": { "start": { "last": 40 } } })).unwrap_err();
    assert_eq!(start.path, ["sampler", "cnsdiff", "start"]);
}

#[test]
fn the_schema_allows_both_spellings() {
    let schema = schemars::schema_for!(Config).to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for fine in [json!("mf"), json!({ "lightgcn": { "layers": 3 } }), json!({ "lightgcn": {} })] {
        assert!(validator.is_valid(&json!({ "backbone": fine, "seed": 1 })), "{fine}");
    }
    for wrong in [json!("ngcf"), json!({ "lightgcn": { "layers": -1 } }), json!(3)] {
        assert!(!validator.is_valid(&json!({ "backbone": wrong, "seed": 1 })), "{wrong}");
    }
    let with = |candidates: &Value| json!({ "backbone": "mf", "seed": 1, "candidates": candidates });
    for fine in [
        json!("all"),
        json!({ "items_of": ["iid", "ood"] }),
        json!({ "except": { "source": "x.txt" } }),
        json!({ "sampled": { "of": ["ood"], "negatives": 999, "popularity": true, "seed": 2 } }),
        json!({ "per_user": { "source": "x.txt" } }),
    ] {
        assert!(validator.is_valid(&with(&fine)) && read(with(&fine)).is_ok(), "{fine}");
    }
    // A choice that needs parameters has no short spelling.
    for wrong in [
        json!("items_of"),
        json!("only"),
        json!("sampled"),
        json!({ "sampled": { "of": ["ood"], "negatives": 0 } }),
        json!({ "items_of": ["test"] }),
        json!({ "except": {} }),
    ] {
        let refused = read(with(&wrong)).is_err() || read(with(&wrong)).unwrap().check().is_err();
        assert!(!validator.is_valid(&with(&wrong)) && refused, "{wrong}");
    }
}
