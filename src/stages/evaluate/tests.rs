//! Tests of `evaluate` on made-up lists.

use super::super::columns::{f64s, i64s};
use super::super::testing::{Bench, input};
use super::*;
use crate::data::ids::keys_to_batch;
use serde_json::json;

fn ids(columns: &[(&str, &[u32])]) -> Vec<(String, ArrayRef, bool)> {
    let array = |values: &[u32]| Arc::new(UInt32Array::from(values.to_vec())) as ArrayRef;
    columns.iter().map(|(name, values)| ((*name).to_owned(), array(values), false)).collect()
}

/// What comes in.
struct Case<'a> {
    params: Value,
    train: [&'a [u32]; 2],
    /// Pairs of all sets but the last row are out of distribution.
    test: [&'a [u32]; 2],
    valid: [&'a [u32]; 2],
    masks_valid: bool,
    candidates: &'a [u32],
    /// Their users, where they differ from user to user.
    candidates_of: Option<&'a [u32]>,
    /// Of the recommendations, by row.
    users: &'a [u32],
    ranks: &'a [u32],
    tied: &'a [bool],
}

impl Case<'_> {
    /// Two users in the test: user 0 has 1 of 1 right, user 2 none of 3; user 1's only test item was trained on. The
    /// items 0 to 9 were all seen in training.
    fn new(params: Value) -> Self {
        Case {
            params,
            train: [&[0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3], &[0, 7, 0, 1, 2, 3, 4, 5, 6, 8, 9]],
            test: [&[0, 1, 2, 2, 2, 0], &[5, 7, 7, 8, 9, 6]],
            valid: [&[], &[]],
            masks_valid: true,
            candidates: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            candidates_of: None,
            users: &[0, 0, 1, 2, 2],
            ranks: &[1, 2, 1, 1, 2],
            tied: &[false; 5],
        }
    }

    fn run(self) -> Result<[RecordBatch; 3], StageError> {
        let bench = Bench::new();
        let table = |columns| RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let put = |name: &'static str, columns| (name, bench.put(name, &table(columns)));
        let pairs = |[users, items]: [&[u32]; 2]| ids(&[("user", users), ("item", items)]);
        let mut test = pairs(self.test);
        let rows = self.test[0].len();
        let sets = (0..rows).map(|row| if row + 1 < rows { "ood" } else { "iid" });
        test.push(("set".to_owned(), Arc::new(StringArray::from_iter_values(sets)), false));
        let listed = self.users.len();
        let mut lists =
            ids(&[("user", self.users), ("rank", &self.ranks[..listed]), ("item", &[5, 6, 1, 2, 3][..listed])]);
        lists.push(("tied".to_owned(), Arc::new(BooleanArray::from(self.tied[..listed].to_vec())), false));
        let mask: Vec<(String, ArrayRef, bool)> = vec![
            ("name".to_owned(), Arc::new(StringArray::from(vec!["mask_valid"])), false),
            ("value".to_owned(), Arc::new(Float64Array::from(vec![f64::from(u8::from(self.masks_valid))])), false),
        ];
        let train = pairs(self.train);
        let keys = ["ann", "bob", "cem", "dan"];
        let users = ("users", bench.put("users", &keys_to_batch(keys).unwrap()));
        let split = [put("test", test), put("train", train), put("valid", pairs(self.valid)), users];
        let owners = self.candidates_of.map(|users| ("user", users));
        let columns: Vec<(&str, &[u32])> = owners.into_iter().chain([("item", self.candidates)]).collect();
        let candidates = put("candidates", ids(&columns));
        let model = [put("recommendations", lists), candidates, put("summary", mask)];
        let inputs = vec![input("split", &[], &split), input("model", &["seed=1"], &model)];
        let out = bench.run::<Evaluate>(run, self.params, inputs, Vec::new(), "out")?;
        let read = |name: &str| parquet::read(&out.join(format!("{name}.parquet")));
        let users = read("users")?;
        let key = |&id: &u32| keys[id as usize];
        assert!(texts(&users, "key")?.iter().flatten().eq(u32s(&users, "user")?.iter().map(key)));
        Ok([read("per_user")?, read("summary")?, read("counts")?])
    }
}

fn evaluate(params: Value) -> [RecordBatch; 3] {
    Case::new(params).run().unwrap()
}

fn count(counts: &RecordBatch, name: &str) -> i64 {
    let row = texts(counts, "name").unwrap().iter().position(|own| own == Some(name)).unwrap();
    i64s(counts, "value").unwrap()[row]
}

#[test]
fn values_per_user_and_over_users() {
    let params =
        json!({ "set": "ood", "metrics": ["recall", "micro_recall"], "k": [2], "groups": { "by": "activity" } });
    let [per_user, summary, counts] = evaluate(params);
    assert_eq!(u32s(&per_user, "user").unwrap(), [0, 2, 0, 2]);
    assert_eq!(f64s(&per_user, "value").unwrap(), [1.0, 0.0, 0.5, 0.0]);
    assert_eq!(f64s(&summary, "value").unwrap(), [0.5, 0.25, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(texts(&summary, "group").unwrap().value(2), "activity 1-1");
    assert_eq!(u32s(&summary, "users").unwrap(), [2, 2, 1, 1, 1, 1]);
    for (batch, name) in [(&per_user, "per_user"), (&summary, "summary"), (&counts, "counts")] {
        let output = Evaluate::OUTPUTS.iter().find(|output| output.name == name).unwrap();
        let Form::Table(columns) = output.form else { panic!() };
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        assert_eq!(batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), names);
    }
}

/// User 0 is shown 5 and 6, user 2 is shown 2 and 3; all have user 3 in training, 3 and 5 have user 1 too.
#[test]
fn popularity_is_counted_in_training() {
    let train = [&[0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1][..], &[0, 7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 3, 5, 5]];
    let case = |params: &Value| Case { train, ..Case::new(params.clone()) };
    let params = json!({ "set": "ood", "metrics": ["arp", "recall"], "k": [1, 2], "groups": { "by": "activity" } });
    let [per_user, summary, _] = case(&params).run().unwrap();
    assert_eq!(f64s(&per_user, "value").unwrap()[..4], [2.0, 1.0, 1.5, 1.5]);
    assert_eq!(f64s(&summary, "value").unwrap()[..2], [1.5, 1.5]);
    // Whoever is recommended nothing is in no mean, and a group of such users has none.
    let all = recall(json!({ "metrics": ["arp"] }));
    let [_, summary, _] = Case { users: &[0, 0, 1], ..case(&all) }.run().unwrap();
    assert_eq!((f64s(&summary, "value").unwrap(), u32s(&summary, "users").unwrap()), (vec![1.5], &[2][..]));
    let error = Case { users: &[0, 0, 1], ..case(&params) }.run().unwrap_err();
    assert!(error.message.starts_with("no user of group `activity 2-2` has a recommendation"), "{error}");
}

#[test]
fn only_the_wanted_set_counts() {
    let [per_user, ..] = evaluate(json!({ "set": "iid", "metrics": ["mrr"], "k": [2] }));
    assert_eq!(f64s(&per_user, "value").unwrap(), [0.5]);
}

#[test]
fn users_without_recommendations_count_as_0() {
    let params = json!({ "set": "ood", "metrics": ["recall"], "k": [2] });
    let [per_user, summary, _] = Case { users: &[0, 0, 1], ..Case::new(params) }.run().unwrap();
    assert_eq!(f64s(&per_user, "value").unwrap(), [1.0, 0.0]);
    assert_eq!((f64s(&summary, "value").unwrap(), u32s(&summary, "users").unwrap()), (vec![0.5], &[2][..]));
}

#[test]
fn lists_shorter_than_the_cutoff_are_refused() {
    let error = Case::new(json!({ "set": "ood" })).run().unwrap_err();
    assert_eq!(error.message, "a cut-off is 20, but no list has more than 2 items");
    let help = "only 10 items are ranked, those of a user's training set among them: lower `k`";
    assert_eq!(error.help.as_deref(), Some(help));
    let error = Case::new(json!({ "set": "ood", "k": [7] })).run().unwrap_err();
    assert_eq!(error.help.unwrap(), "set `top_k` of the train stage to at least 7, or lower `k`");
    let case = Case { ranks: &[2, 1, 1, 1, 2], ..Case::new(json!({ "set": "ood", "k": [1] })) };
    let error = case.run().unwrap_err();
    assert!(error.message.contains("not sorted"), "{error}");
}

/// User 0 is asked for 5, which is ranked for him; of user 2's items 7, 8 and 9 only 8 is ranked for her, the others are for
/// user 0.
#[test]
fn candidates_may_differ_from_user_to_user() {
    let case = |params| Case {
        candidates: &[3, 5, 7, 9, 2, 3, 8],
        candidates_of: Some(&[0, 0, 0, 0, 2, 2, 2]),
        ..Case::new(params)
    };
    assert_eq!(recalls(case(recall(json!({}))), "no_candidate"), (vec![0, 2], vec![1.0, 0.0], 2));
    let lists = Case { test: [&[0, 2, 2, 0], &[5, 2, 7, 6]], ..case(recall(json!({}))) };
    assert_eq!(recalls(lists, "no_candidate"), (vec![0, 2], vec![1.0, 1.0], 1));
    let error = case(json!({ "set": "ood", "k": [7] })).run().unwrap_err();
    assert!(error.help.unwrap().starts_with("only 4 items are ranked"));
    let error = case(json!({ "set": "iid", "metrics": ["recall"], "k": [2] })).run().unwrap_err();
    assert!(error.message.contains("no user has a test item in the set `iid`"), "{error}");
}

/// Recall@2 of each user, and what is counted under `name`.
fn recalls(case: Case, name: &str) -> (Vec<u32>, Vec<f64>, i64) {
    let [per_user, _, counts] = case.run().unwrap();
    (u32s(&per_user, "user").unwrap().to_vec(), f64s(&per_user, "value").unwrap(), count(&counts, name))
}

fn recall(more: Value) -> Value {
    let mut params = json!({ "set": "ood", "metrics": ["recall"], "k": [2] });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[test]
fn a_test_pair_that_the_mask_hides_is_not_asked_for() {
    // User 0 is recommended 5 and 6 of the test's 4, 5 and 6; 4 is in validation.
    let case = |masks_valid, more| Case {
        test: [&[0, 0, 0, 2], &[4, 5, 6, 9]],
        valid: [&[0, 1], &[4, 4]],
        masks_valid,
        ..Case::new(recall(more))
    };
    assert_eq!(recalls(case(true, json!({})), "in_valid"), (vec![0], vec![1.0], 1));
    assert_eq!(recalls(case(true, json!({ "unreachable": "keep" })), "in_valid"), (vec![0], vec![2.0 / 3.0], 1));
    // A model that does not mask it could have recommended it.
    assert_eq!(recalls(case(false, json!({})), "in_valid"), (vec![0], vec![2.0 / 3.0], 0));
}

#[test]
fn a_test_pair_of_training_is_not_asked_for_unless_kept() {
    assert_eq!(recalls(Case::new(recall(json!({}))), "in_train"), (vec![0, 2], vec![1.0, 0.0], 1));
    let kept = Case::new(recall(json!({ "unreachable": "keep" })));
    assert_eq!(recalls(kept, "in_train"), (vec![0, 1, 2], vec![1.0, 0.0, 0.0], 1));
}

#[test]
fn an_item_that_is_no_candidate_is_not_asked_for() {
    let case = |more| Case { candidates: &[1, 2, 3, 5, 6, 8], ..Case::new(recall(more)) };
    assert_eq!(recalls(case(json!({})), "no_candidate"), (vec![0, 2], vec![1.0, 0.0], 2));
    assert_eq!(recalls(case(json!({})), "pairs").2, 2);
    assert_eq!(recalls(case(json!({ "unreachable": "keep" })), "pairs").2, 5);
}

#[test]
fn an_item_that_training_never_saw_is_a_miss() {
    let case = Case { test: [&[0, 0, 2, 2], &[5, 12, 9, 0]], ..Case::new(recall(json!({}))) };
    assert_eq!(recalls(case, "cold"), (vec![0, 2], vec![0.5, 0.0], 1));
}

#[test]
fn nothing_that_can_be_asked_for_is_an_error_with_a_way_out() {
    let case = Case { candidates: &[1], ..Case::new(recall(json!({}))) };
    let error = case.run().unwrap_err();
    assert!(error.message.contains("no user has a test item"), "{error}");
    assert!(error.help.as_ref().unwrap().contains("`unreachable: keep`"), "{error:?}");
}

#[test]
fn cut_offs_between_equal_scores_are_counted() {
    let params = json!({ "set": "ood", "metrics": ["recall"], "k": [1, 2] });
    let case = Case { tied: &[true, false, true, true, true], ..Case::new(params) };
    let [.., counts] = case.run().unwrap();
    assert_eq!((count(&counts, "tied@1"), count(&counts, "tied@2"), count(&counts, "users")), (2, 1, 2));
}

#[test]
fn parameters_that_make_no_sense() {
    for (params, at) in [
        (json!({ "set": "ood", "metrics": ["ndgc"] }), "metrics.0"),
        (json!({ "set": "ood", "k": [10, 0] }), "k.1"),
        (json!({ "set": "ood", "k": [10, 10] }), "metrics.0"),
        (json!({ "set": "ood", "k": [] }), "k"),
        (json!({ "set": "ood", "groups": { "by": "activity", "bins": 0 } }), "groups.bins"),
    ] {
        let error = Evaluate::check(&parse::<Evaluate>(&params).unwrap()).unwrap_err();
        assert_eq!(error.path.join("."), at);
    }
}
