//! How trainings are spelt, and which combinations are refused.

use super::*;
use crate::method::{LOSSES, SAMPLERS};
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
    for wrong in [json!("ngfc"), json!({ "lightgcn": { "layers": -1 } }), json!(3)] {
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

#[test]
fn corrections_need_negatives_of_known_probability() {
    let check = |sampler: &str| {
        let loss = json!({ "softmax": { "log_q": true } });
        read(json!({ "backbone": "mf", "sampler": sampler, "loss": loss, "seed": 1 })).unwrap().check()
    };
    assert_eq!((check("uniform"), check("popularity")), (Ok(()), Ok(())));
    for sampler in ["dns", "mixgcf", "cnsdiff"] {
        let mistake = check(sampler).unwrap_err();
        assert_eq!(mistake.path, ["loss", "softmax", "log_q"]);
        assert!(mistake.message.contains(sampler) && mistake.help.is_some());
    }
}

/// Reads a training and answers what is wrong with it: where, what, and what to do.
fn mistake(mut written: Value) -> (String, String, String) {
    written["seed"] = json!(1);
    let Mistake { path, message, help } = read(written.clone()).unwrap().check().expect_err(&written.to_string());
    (path.join("."), message, help.unwrap_or_else(|| panic!("{written}: no help")))
}

#[test]
fn what_only_gradients_need_means_nothing_for_a_recommender() {
    let keys = [
        ("backbone", json!("mf")),
        ("dim", json!(32)),
        ("sampler", json!("uniform")),
        ("negatives", json!(1)),
        ("loss", json!("bpr")),
        ("score", json!("cosine")),
        ("optimizer", json!({ "lr": 0.1 })),
        ("schedule", json!({ "cosine": {} })),
        ("batch_size", json!(64)),
        ("epochs", json!(10)),
        ("reg", json!({ "weight": 0.1 })),
        ("select", json!("last")),
        ("device", json!("cpu")),
        ("drop_last", json!(true)),
    ];
    for (key, value) in keys {
        let (path, message, help) = mistake(json!({ "recommender": "item_knn", key: value }));
        assert_eq!(path, key);
        assert!(message.contains("means nothing for `recommender: item_knn`"), "{message}");
        assert!(help.contains(&format!("take `{key}`")) && help.contains("`backbone`"), "{help}");
    }
    let alone = json!({ "recommender": { "item_knn": { "neighbours": 3 } }, "seed": 1, "top_k": 5, "mask": "train" });
    assert_eq!(read(alone).unwrap().check(), Ok(()));
}

#[test]
fn a_training_is_one_of_a_backbone_or_a_recommender() {
    let (path, message, help) = mistake(json!({}));
    assert_eq!((path, &message[..]), (String::new(), "neither `backbone` nor `recommender` is given"));
    assert!(help.contains("`backbone: mf`") && help.contains("`recommender: popularity`"), "{help}");
    let (path, message, help) = mistake(json!({ "backbone": "lightgcn", "recommender": "popularity" }));
    assert_eq!(path, "backbone");
    assert!(message.contains("`recommender: popularity`"), "{message}");
    assert_eq!(help, "take `backbone` or `recommender` out");
}

/// Of the losses that take none: neither a sampler nor a number of negatives.
#[test]
fn negatives_are_refused_where_the_loss_takes_none() {
    let forbidding = LOSSES.iter().filter(|entry| (entry.traits)(&json!({})).negatives == Need::Forbidden);
    let names: Vec<&str> = forbidding.map(|entry| entry.name).collect();
    assert!(names.contains(&"in_batch_softmax"));
    for loss in names {
        for sampler in SAMPLERS.iter().map(|entry| entry.name) {
            let (path, message, help) = mistake(json!({ "backbone": "mf", "loss": loss, "sampler": sampler }));
            assert_eq!(path, "sampler");
            assert!(message.contains(&format!("`loss: {loss}` takes no negatives")), "{message}");
            assert_eq!(help, "take `sampler` out, or choose another loss");
        }
        let (path, message, help) = mistake(json!({ "backbone": "mf", "loss": loss, "negatives": 4 }));
        assert_eq!(path, "negatives");
        assert!(
            message.contains(&format!("`loss: {loss}`")) && help.contains("take `negatives` out"),
            "{message}: {help}"
        );
        assert_eq!(read(json!({ "backbone": "mf", "loss": loss, "seed": 1 })).unwrap().check(), Ok(()));
    }
}

#[test]
fn several_negatives_are_refused_where_the_sampler_gives_one() {
    for sampler in SAMPLERS {
        let several = json!({ "backbone": "mf", "sampler": sampler.name, "negatives": 3, "seed": 1 });
        if (sampler.traits)(&(sampler.canonical)(&json!({})).unwrap()).many {
            assert_eq!(read(several).unwrap().check(), Ok(()), "{}", sampler.name);
            continue;
        }
        let (path, message, help) = mistake(several);
        assert_eq!(path, "negatives");
        assert!(message.contains(&format!("`sampler: {}` gives one negative", sampler.name)), "{message}");
        assert!(message.contains("not 3") && help.contains("`negatives: 1`"), "{message}: {help}");
    }
    assert_eq!(mistake(json!({ "backbone": "mf", "sampler": "cnsdiff", "negatives": 2 })).0, "negatives");
}

#[test]
fn vectors_have_no_probability_to_correct_by() {
    let training = |log_q: bool, generate: bool| {
        json!({
            "backbone": "mf", "seed": 1, "loss": { "softmax": { "log_q": log_q } },
            "sampler": { "cnsdiff": { "generate": generate } },
        })
    };
    let (path, message, help) = mistake(training(true, true));
    assert_eq!((&path[..], &help[..]), ("loss.softmax.log_q", "write `log_q: false`"));
    assert!(message.contains("`cnsdiff`"), "{message}");
    assert_eq!(read(training(false, true)).unwrap().check(), Ok(()));
    // Without generated vectors the negatives are items, of a probability that it does not tell.
    assert!(mistake(training(true, false)).1.contains("`sampler: cnsdiff`"));
}

#[test]
fn cosines_are_refused_where_hops_are_mixed() {
    for sampler in SAMPLERS {
        let cosine = json!({ "backbone": "lightgcn", "sampler": sampler.name, "score": "cosine", "seed": 1 });
        if !(sampler.traits)(&(sampler.canonical)(&json!({})).unwrap()).by_hops {
            assert_eq!(read(cosine).unwrap().check(), Ok(()), "{}", sampler.name);
            continue;
        }
        let (path, message, help) = mistake(cosine);
        assert_eq!((&path[..], &help[..]), ("score", "write `score: inner_product`"));
        assert!(message.contains(sampler.name) && message.contains("`cosine`"), "{message}");
    }
}
