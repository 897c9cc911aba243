//! Negatives that are ranked beside the test items of a user: items that are not known to be his or hers, drawn with a seed
//! of their own, so that all methods and all training seeds are asked the same questions.

use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Candidates;
use super::candidates::SplitPart;
use crate::data::Graph;
use crate::method::Mistake;
use crate::rng;

/// The "1 + n" protocols: what is ranked for a user are his or her test items and sampled others. Their metrics do not
/// compare with those of a full ranking (Krichene and Rendle, KDD 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// The tests whose items are ranked: `iid`, `ood` or both.
    pub of: Vec<SplitPart>,
    /// Negatives per user: items that the user has in no part of the split.
    #[serde(default = "ninety_nine")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub negatives: usize,
    /// Draw them in proportion to their training pairs, not uniformly.
    #[serde(default)]
    pub popularity: bool,
    /// Decides, with the keys of users and items, which they are; the seed of the training does not.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub seed: u32,
}

fn ninety_nine() -> usize {
    99
}

fn one() -> u32 {
    1
}

impl Sampled {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), Mistake> {
        let path = |key| ["candidates", "sampled", key];
        Mistake::unless(!self.of.is_empty(), &path("of"), "is empty")?;
        for part in &self.of {
            let test = matches!(part, SplitPart::Iid | SplitPart::Ood);
            Mistake::unless(test, &path("of"), format!("`{}` is no test: write `iid` or `ood`", part.name()))?;
        }
        Mistake::unless(self.negatives > 0, &path("negatives"), "must be at least 1")
    }

    /// Negatives from `pool` for each of `users`, fewer where not enough are left: none that one of `known` has for the
    /// user, and no item twice. `items` are the keys of all items in the order of their ids, `user_key` those of users. What
    /// is drawn depends on the seed and on keys, not on ids.
    pub fn draw<'i, 'u>(
        &self,
        pool: &Candidates,
        items: impl IntoIterator<Item = &'i str>,
        train: &Graph,
        known: &[&Graph],
        users: &[u32],
        user_key: impl Fn(u32) -> &'u str + Sync,
    ) -> Vec<Vec<u32>> {
        let seed = u64::from(self.seed);
        let pool = Candidates::new(seed, items, |item| pool.contains(item));
        let weight = |&item: &u32| if self.popularity { train.users_of(item).len() as u64 } else { 1 };
        let weights: Vec<u64> = pool.order().iter().map(weight).collect();
        let full = Urn::new(&weights);
        let of_user = |urn: &mut Urn, &user: &u32| -> Vec<u32> {
            let mut out: Vec<usize> =
                known.iter().flat_map(|known| known.items_of(user)).filter_map(|&item| pool.place(item)).collect();
            out.sort_unstable();
            out.dedup();
            let positives = out.len();
            out.iter().for_each(|&place| urn.take(place));
            let mut rng = rng::stream(seed, &format!("negatives of {}", user_key(user)), 0);
            while out.len() < positives + self.negatives && urn.total > 0 {
                let place = urn.at(rng.random_range(0..urn.total));
                urn.take(place);
                out.push(place);
            }
            out.iter().for_each(|&place| urn.put_back(place));
            out[positives..].iter().map(|&place| pool.order()[place]).collect()
        };
        users.par_iter().map_init(|| full.clone(), of_user).collect()
    }
}

/// Things with weights, of which one can be found by a number below the sum: a tree of partial sums (Fenwick, Software
/// 1994), so that drawing without replacement takes logarithmic time, however much is gone.
#[derive(Clone)]
struct Urn<'a> {
    weights: &'a [u64],
    /// From 1: the weights of as many things up to this one as its lowest bit says.
    sums: Vec<u64>,
    total: u64,
}

impl<'a> Urn<'a> {
    fn new(weights: &'a [u64]) -> Self {
        let mut urn = Self { weights, sums: vec![0; weights.len() + 1], total: 0 };
        (0..weights.len()).for_each(|place| urn.put_back(place));
        urn
    }

    fn take(&mut self, place: usize) {
        self.change(place, |sum, weight| sum - weight);
    }

    fn put_back(&mut self, place: usize) {
        self.change(place, |sum, weight| sum + weight);
    }

    fn change(&mut self, place: usize, changed: impl Fn(u64, u64) -> u64) {
        let weight = self.weights[place];
        self.total = changed(self.total, weight);
        let mut node = place + 1;
        while node < self.sums.len() {
            self.sums[node] = changed(self.sums[node], weight);
            node += node & node.wrapping_neg();
        }
    }

    /// The thing at `mark`, where all stand in a row, each as long as its weight.
    fn at(&self, mut mark: u64) -> usize {
        let mut before = 0;
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(&sum) = self.sums.get(before + step)
                && sum <= mark
            {
                mark -= sum;
                before += step;
            }
            step /= 2;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interactions;
    use crate::method::Recommender;
    use crate::train::{Ranking, Scored, Scorer, recommend_among};

    const ITEMS: u32 = 40;

    fn graph(pairs: impl IntoIterator<Item = (u32, u32)>) -> Graph {
        let (user, item) = pairs.into_iter().unzip();
        Graph::with_size(200, ITEMS as usize, &Interactions { user, item, ..Interactions::default() })
    }

    fn rule(negatives: usize, popularity: bool) -> Sampled {
        Sampled { of: vec![SplitPart::Ood], negatives, popularity, seed: 1 }
    }

    /// What is drawn for all of 200 users where users and items have these keys.
    fn drawn(rule: &Sampled, train: &Graph, known: &Graph, keys: impl Fn(u32) -> String) -> Vec<Vec<u32>> {
        let keys: Vec<String> = (0..200).map(keys).collect();
        let items = || keys[..ITEMS as usize].iter().map(String::as_str);
        let pool = Candidates::new(77, items(), |item| item != 39);
        let users: Vec<u32> = (0..200).collect();
        rule.draw(&pool, items(), train, &[train, known], &users, |user| &keys[user as usize])
    }

    fn plain(id: u32) -> String {
        format!("k{id}")
    }

    /// Partial sums by hand: of weights 2, 0, 3 and 1, the marks 0 to 5 lie in the things 0, 0, 2, 2, 2 and 3.
    #[test]
    fn an_urn_finds_what_lies_at_a_mark() {
        let weights = [2, 0, 3, 1];
        let mut urn = Urn::new(&weights);
        let marks = |urn: &Urn| (0..urn.total).map(|mark| urn.at(mark)).collect::<Vec<_>>();
        assert_eq!(marks(&urn), [0, 0, 2, 2, 2, 3]);
        urn.take(2);
        assert_eq!(marks(&urn), [0, 0, 3]);
        urn.put_back(2);
        urn.take(3);
        assert_eq!(marks(&urn), [0, 0, 2, 2, 2]);
    }

    #[test]
    fn negatives_are_distinct_items_of_the_pool_that_the_user_does_not_have() {
        let train = graph(
            (0..200)
                .flat_map(|user| (0..ITEMS).filter(move |item| (user + item) % 3 == 0).map(move |item| (user, item))),
        );
        let known = graph((0..200).map(|user| (user, (user + 1) % ITEMS)));
        for popularity in [false, true] {
            for (user, mut items) in (0..).zip(drawn(&rule(12, popularity), &train, &known, plain)) {
                assert_eq!(items.len(), 12);
                assert!(
                    items.iter().all(|&item| !train.contains(user, item) && !known.contains(user, item) && item != 39)
                );
                items.sort_unstable();
                items.dedup();
                assert_eq!(items.len(), 12);
            }
        }
        // Of 39 items the user has 13 or 14, and one more that may be among them.
        let all = drawn(&rule(39, false), &train, &known, plain);
        assert!(all.iter().all(|items| (24..=26).contains(&items.len())));
    }

    /// Other ids of the same keys, and more threads, draw the same keys; another key or seed draws others.
    #[test]
    fn what_is_drawn_follows_from_keys_and_seed() {
        let nothing = graph([]);
        let key_of = |keys: fn(u32) -> String, items: &[u32]| items.iter().map(|&item| keys(item)).collect::<Vec<_>>();
        // The ids 0 to 38 the other way round; 39 is in no pool.
        let turned: fn(u32) -> String = |id| plain(if id < 39 { 38 - id } else { id });
        let rule = rule(5, false);
        let first = drawn(&rule, &nothing, &nothing, plain);
        let second = drawn(&rule, &nothing, &nothing, turned);
        for user in 0..39 {
            assert_eq!(key_of(plain, &first[user]), key_of(turned, &second[38 - user]));
        }
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(single.install(|| drawn(&rule, &nothing, &nothing, plain)), first);
        assert!(first.iter().filter(|items| **items == first[0]).count() == 1);
        assert_ne!(drawn(&Sampled { seed: 2, ..rule }, &nothing, &nothing, plain), first);
    }

    /// Whatever is asked for, a model that gives all items the same score finds it by chance: one of 20 among the first 5.
    #[test]
    fn sampled_recall_of_a_constant_model_is_that_of_chance() {
        struct Constant;
        impl Recommender for Constant {
            fn scores(&self, _: u32, _: &[u32], scores: &mut [f32]) {
                scores.fill(1.0);
            }
        }
        let nothing = graph([]);
        // What is right are the first ten items, which an order by ids would favour.
        let right = graph((0..200).map(|user| (user, user % 10)));
        let keys: Vec<String> = (0..ITEMS).map(plain).collect();
        let users: Vec<u32> = (0..200).collect();
        let hits = |seed: u32| -> usize {
            let drawn = drawn(&Sampled { seed, ..rule(19, false) }, &nothing, &right, plain);
            let sets = users.iter().zip(&drawn).flat_map(|(&user, own)| own.iter().map(move |&item| (user, item)));
            let sets = graph(sets.chain(users.iter().map(|&user| (user, user % 10))));
            let candidates = Candidates::new(u64::from(seed) + 1_000, keys.iter().map(String::as_str), |_| true);
            let ranking = Ranking { candidates: &candidates, masks: &[], k: 5 };
            let scorer = Scorer::Recommender { recommender: &Constant, train: &nothing };
            let lists = recommend_among(&scorer, &users, &ranking, &sets).unwrap();
            assert!(lists.iter().all(|list| list.len() == 5));
            let found = |(user, list): &(&u32, &Vec<Scored>)| list.iter().any(|scored| scored.item == *user % 10);
            users.iter().zip(&lists).filter(found).count()
        };
        let found: usize = (0..100).map(hits).sum();
        // A quarter of 20,000; the order of equal scores is the same for all users, so ten items count, not 200 users: the
        // standard deviation is below that of 1,000 independent draws that count 20 times, 274.
        assert!((4_200..=5_800).contains(&found), "{found}");
    }

    /// One item per user: item 0 has 30 training pairs, item 1 ten, the others none.
    #[test]
    fn popular_items_are_drawn_in_proportion() {
        let train = graph((0..30).map(|user| (user, 0)).chain((0..10).map(|user| (user, 1))));
        let nothing = graph([]);
        let users = 30..200;
        let drawn = drawn(&rule(1, true), &train, &nothing, plain);
        assert!(drawn[..10].iter().all(Vec::is_empty), "they have both");
        let of_first = users.clone().filter(|&user| drawn[user] == [0]).count();
        assert_eq!(users.clone().filter(|&user| drawn[user] == [1]).count(), users.len() - of_first);
        // Three of four in 170: 127.5, with a standard deviation of 5.6.
        assert!((111..=144).contains(&of_first), "{of_first}");
    }

    #[test]
    fn each_item_is_as_likely_as_any_other() {
        let nothing = graph([]);
        let mut counts = [0; ITEMS as usize];
        for seed in 0..50 {
            let drawn = drawn(&Sampled { seed, ..rule(10, false) }, &nothing, &nothing, plain);
            drawn.iter().flatten().for_each(|&item| counts[item as usize] += 1);
        }
        // 10,000 draws of ten of 39 items: 2,564 of each, with a standard deviation of 44.
        assert!(counts[..39].iter().all(|count| (2_344..2_784).contains(count)), "{counts:?}");
        assert_eq!(counts[39], 0);
    }

    #[test]
    fn only_tests_can_be_asked_for() {
        let of = |of: &[SplitPart]| Sampled { of: of.to_vec(), ..rule(1, false) }.check();
        assert_eq!(of(&[SplitPart::Iid, SplitPart::Ood]), Ok(()));
        let mistake = of(&[SplitPart::Ood, SplitPart::Valid]).unwrap_err();
        assert_eq!(mistake.path, ["candidates", "sampled", "of"]);
        assert!(mistake.message.contains("`valid` is no test"));
        assert!(of(&[]).unwrap_err().message.contains("empty"));
    }
}
