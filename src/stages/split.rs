//! Stage kind `split`: interactions divided into train, validation and tests by a scenario.

use std::ops::Range;

use arrow::array::{Array, StringArray};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expect::{self, Expect};
use super::tables::{
    COUNTS, INTERACTIONS, INTERACTIONS_BY_SET, ITEMS, KEYS, pieces, read_parts, release, write_batches,
};
use super::{audit, warnings};
use crate::data::ids::{keys_from_batch, keys_to_batch};
use crate::data::parts::counts_to_batch;
use crate::data::{Interactions, Parts};
use crate::engine::stage::{Context, Resources, Stage, StageError, parse};
use crate::shift::{self, Audit, Fate, HeldOut, Log, Role, Scenario, ShiftError};
use crate::spec::{Arity, Form, Output, ParamError, Port};
use crate::store::parquet;

pub struct Split;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How the interactions are divided.
    pub scenario: Scenario,
    /// The parts of the data that take part; all if empty.
    #[serde(default)]
    pub parts: Vec<String>,
    /// Decides what random shares consist of.
    #[serde(default)]
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub seed: u64,
    /// What becomes of rows of validation and tests with an item that train lacks: they are left out, or they stay, and
    /// cannot be hit by models that know the items of train only. Rows of users that train lacks are always left out.
    #[serde(default)]
    pub unseen: Fate,
    /// What becomes of rows of validation and tests whose pair train has too.
    #[serde(default)]
    pub in_train: Fate,
    /// What is known of the split that comes out: other numbers end the run.
    #[serde(default)]
    pub expect: ExpectSplit,
    /// What is made of the measures of the artifact `audit`.
    #[serde(default)]
    pub audit: audit::Params,
}

/// Counts that are known, of all parts together and of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectSplit {
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub users: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub items: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub rows: Option<u64>,
    #[serde(default)]
    pub train: Expect,
    #[serde(default)]
    pub valid: Expect,
    #[serde(default)]
    pub iid: Expect,
    #[serde(default)]
    pub ood: Expect,
}

impl ExpectSplit {
    /// # Errors
    /// What there is, and what was expected.
    fn check(&self, split: &shift::Split, audit: &Audit) -> Result<(), StageError> {
        let found = |role: Role| {
            let items = audit.counts[role.index()].iter().filter(|&&count| count > 0).count();
            [split.found.users[role.index()], items, split.found.kept(role)]
        };
        let rows = Role::USED.iter().map(|&role| split.found.kept(role)).sum();
        let whole = Expect { users: self.users, items: self.items, rows: self.rows };
        let mut wrong = vec![whole.check("all parts", [split.users.old_id.len(), split.items.old_id.len(), rows])];
        let parts = [&self.train, &self.valid, &self.iid, &self.ood].into_iter().zip(Role::USED);
        wrong.extend(parts.map(|(expect, role)| expect.check(&format!("`{}`", role.name()), found(role))));
        let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
        if wrong.is_empty() { Ok(()) } else { Err(expect::failure(wrong.join("; "))) }
    }
}

impl Stage for Split {
    type Params = Params;

    const KIND: &'static str = "split";
    const VERSION: u32 = 4;
    const DOC: &'static str = "Divides interactions into train, validation, a test in distribution (`iid`) and one out \
                               of it (`ood`).";
    const PORTS: &'static [Port] = &[Port {
        name: "data",
        doc: "Interactions with their parts and id maps.",
        artifacts: &["interactions", "users", "items"],
        arity: Arity::One,
    }];
    const OUTPUTS: &'static [Output] = &[
        Output { name: "train", doc: "What models learn from.", form: Form::Table(INTERACTIONS) },
        Output { name: "valid", doc: "What the epoch is chosen on.", form: Form::Table(INTERACTIONS) },
        Output { name: "test", doc: "The tests, `iid` before `ood`.", form: Form::Table(INTERACTIONS_BY_SET) },
        Output { name: "users", doc: "Ids of users, by first appearance in train.", form: Form::Table(KEYS) },
        Output { name: "items", doc: "Ids of items, by first appearance in train.", form: Form::Table(ITEMS) },
        Output { name: "summary", doc: "Counts of rows kept and dropped.", form: Form::Table(COUNTS) },
        Output { name: "audit", doc: "Leaks, gaps and shift, measured.", form: Form::Table(audit::MEASURES) },
        Output { name: "catalogue", doc: "What is known of each item.", form: Form::Table(audit::CATALOGUE) },
        warnings::OUTPUT,
    ];

    fn check(params: &Params) -> Result<(), ParamError> {
        match params.scenario.mistake() {
            Some(message) => Err(ParamError { path: vec!["scenario".to_owned()], message, help: None }),
            None => Ok(()),
        }
    }

    fn resources(_params: &Params) -> Resources {
        Resources { cores: 4, memory_mib: 1024, gpus: 0 }
    }
}

/// Runs the stage.
pub fn run(params: &Value, context: &Context) -> Result<(), StageError> {
    let params = parse::<Split>(params)?;
    let data = context.input("data")?;
    let all = read_parts(data.artifact("interactions")?, "part")?;
    let wrong = |error: ShiftError| StageError::new(error.to_string());
    let names = all.names.clone();
    let chosen = all
        .only(&params.parts)
        .map_err(|part| wrong(ShiftError::NoPart { part: part.clone(), names: names.clone() }))?;
    let log = Log::new(&chosen.rows, &chosen.part, &chosen.names).map_err(wrong)?;
    let held_out = HeldOut { unseen: params.unseen, in_train: params.in_train };
    let split = params.scenario.split(&log, held_out, params.seed).map_err(wrong)?;
    for (name, dropped) in split.counts.iter().filter(|(name, _)| name.ends_with("_in_train")) {
        if *dropped > 0 {
            context.log(format!("{name}: {dropped}"));
        }
    }

    let metadata = super::made_by::<Split>();
    let audited = Audit::new(&log, &split);
    parquet::write(&context.output("audit"), &audit::measures(&audited)?, &metadata)?;
    parquet::write(&context.output("catalogue"), &audit::catalogue(&audited, &split)?, &metadata)?;
    audit::enforce(&params.audit, &audited, &log, data)?;
    params.expect.check(&split, &audited)?;
    warnings::tell::<Split>(context, &audit::warnings(&split))?;
    for (port, ids) in [("users", &split.users.old_id), ("items", &split.items.old_id)] {
        let before = parquet::read(data.artifact(port)?)?;
        let keys = renamed(keys_from_batch(&before)?, ids)
            .ok_or_else(|| StageError::new(format!("`{port}` lacks an id that occurs in `interactions`")))?;
        let mut batch = keys_to_batch(keys)?;
        if port == "items" {
            batch = audit::with_domains(&batch, &split)?;
        }
        parquet::write(&context.output(port), &batch, &metadata)?;
    }
    parquet::write(&context.output("summary"), &counts_to_batch(&split.counts)?, &metadata)?;
    let pieces = pieces(log.rows.len());
    for (name, role) in [("train", Role::Train), ("valid", Role::Valid)] {
        let batch = |piece: &Range<usize>| split.part(log.rows, role, piece.clone()).into_batch();
        write_batches(&context.output(name), &Interactions::schema(), &metadata, &pieces, batch)?;
    }
    let tests = [(0, Role::Iid), (1, Role::Ood)];
    let pieces: Vec<_> = tests.iter().flat_map(|test| pieces.iter().map(move |piece| (test, piece))).collect();
    let batch = |&(&(test, role), piece): &(&(u32, Role), &Range<usize>)| {
        let rows = split.part(log.rows, role, piece.clone());
        let names = ["iid", "ood"].map(str::to_owned).to_vec();
        Parts { part: vec![test; rows.len()], rows, names }.into_batch("set")
    };
    write_batches(&context.output("test"), &Parts::schema("set"), &metadata, &pieces, batch)?;
    release(chosen);
    Ok(())
}

/// The keys at `ids`, in that order.
fn renamed<'a>(keys: &'a StringArray, ids: &[u32]) -> Option<Vec<&'a str>> {
    ids.iter().map(|&id| ((id as usize) < keys.len()).then(|| keys.value(id as usize))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stages::ingest::{self, Ingest};
    use crate::stages::synthetic::{self, Synthetic};
    use crate::stages::testing::{Ran, public_data, run_kind};

    fn split(data: &Ran, params: Value) -> Result<Ran, StageError> {
        run_kind::<Split>(run, params, Vec::new(), &[("data", data)])
    }

    fn small() -> Ran {
        let params = json!({ "users": 200, "items": 300, "interactions": 4000 });
        run_kind::<Synthetic>(synthetic::run, params, Vec::new(), &[]).unwrap()
    }

    #[test]
    fn keys_stay_with_their_users_and_items() {
        let data = small();
        let carve = json!({ "valid": 0.1, "iid": 0.2 });
        let scenario = json!({ "given": { "train": "log", "ood": "uniform", "carve": carve } });
        let ran = split(&data, json!({ "scenario": scenario })).unwrap();
        let named = |ran: &Ran, rows: &Interactions| -> Vec<(String, String, i64)> {
            let (users, items) = (ran.text("users", "key"), ran.text("items", "key"));
            let times = rows.time.clone().unwrap();
            let row = |row: usize| {
                (users[rows.user[row] as usize].clone(), items[rows.item[row] as usize].clone(), times[row])
            };
            (0..rows.len()).map(row).collect()
        };
        let before = Interactions::from_batch(&data.read("interactions")).unwrap();
        let before: std::collections::HashSet<_> = named(&data, &before).into_iter().collect();
        for part in ["train", "valid", "test"] {
            let rows = Interactions::from_batch(&ran.read(part)).unwrap();
            assert!(!rows.is_empty());
            assert!(named(&ran, &rows).iter().all(|row| before.contains(row)), "{part}");
        }
        let test = Parts::from_batch(&ran.read("test"), "set").unwrap();
        assert_eq!(test.names, ["iid", "ood"]);
        assert_eq!(test.rows.len() as i64, ran.count("iid.rows") + ran.count("ood.rows"));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_does_not() {
        let data = small();
        for scenario in [json!({ "random": {} }), json!({ "popularity": {} }), json!({ "temporal": {} })] {
            let bytes = |seed| {
                let params = json!({ "scenario": scenario, "parts": ["log"], "seed": seed });
                split(&data, params).unwrap().bytes()
            };
            assert_eq!(bytes(1), bytes(1));
            assert_ne!(bytes(1)["train"], bytes(2)["train"]);
        }
    }

    #[test]
    fn a_part_that_there_is_not_is_refused_with_those_there_are() {
        let params = json!({ "scenario": { "random": {} }, "parts": ["logs"] });
        let error = split(&small(), params).err().unwrap();
        assert_eq!(error.message, "there is no part `logs` in the data; there are: log, uniform");
    }

    #[test]
    #[ignore = "needs the public data"]
    fn the_given_split_of_food_keeps_every_row() {
        let root = public_data();
        let files = [("train", "train"), ("valid", "valid_iid"), ("iid", "test_iid"), ("ood", "test")];
        let paths = files.map(|(_, name)| root.join(format!("food/{name}.txt")));
        let files = files.map(|(part, name)| json!({ "part": part, "source": name }));
        let data = run_kind::<Ingest>(ingest::run, json!({ "files": files }), paths.to_vec(), &[]).unwrap();
        let given = json!({ "given": { "train": "train", "valid": "valid", "iid": "iid", "ood": "ood" } });
        let ran = split(&data, json!({ "scenario": given })).unwrap();
        let rows = ["train", "valid", "iid", "ood"].map(|part| ran.count(&format!("{part}.rows")));
        assert_eq!(rows, [106_253, 20_468, 43_183, 46_149]);
        assert_eq!((ran.count("users"), ran.count("items"), ran.count("in_iid_and_ood")), (7_732, 6_293, 0));
        assert!(ran.log.is_empty());
    }
}
